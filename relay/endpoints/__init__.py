"""All I/O: what each transport needs to be one side of a pipe.

    base.py      Endpoint and Listener, the two interfaces
    core/        what endpoints share: inbox, tasks, byte streams, one outcome for each request
    stdio/       this process's own stdin and stdout
    child/       a child process's stdin and stdout
    socket/      TCP and Unix sockets
    websocket/   WebSocket
    http/        Streamable HTTP and HTTP+SSE: server/ listens, client/ dials, through/ hands requests on
    combined/    endpoints made of endpoints: one server shared, several that stand in for one another

Rooms import only from those above them in this list, and ``combined`` from none of the transports. Only
``app/run/wiring.py`` and the package's door name concrete endpoints.
"""
