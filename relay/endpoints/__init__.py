"""All I/O: the endpoints, which make each transport one side of a pipe.

    base.py      Endpoint and Listener, the two interfaces
    core/        what endpoints share: inbox, tasks, byte streams, one outcome per request
    stdio/       this process's own stdin and stdout
    child/       a child process's stdin and stdout
    socket/      TCP and Unix sockets
    websocket/   WebSocket
    http/        Streamable HTTP and HTTP+SSE: server/ listens, client/ dials, through/ forwards requests
    combined/    endpoints made of endpoints: a shared server, a choice among several servers

Rooms import only from those above them in this list, and ``combined`` from none of the transports. Only
``app/run/wiring.py`` and the package's door name concrete endpoints.
"""
