"""All I/O: what each transport needs to be one side of a pipe.

    base.py          Endpoint and Listener, the two interfaces
    inbox.py         FrameInbox, received frames that wait for their receiver, bounded
    tasks.py         TaskScope, the background tasks of an endpoint that has several connections
    byte_stream.py   newline-delimited frames over any asyncio transport
    own_stdio.py     this process's stdin and stdout
    child.py         a child process's stdin and stdout; guardian.py ends children whose relay was killed
    memory.py        two endpoints joined in memory
    http_server.py   Streamable HTTP and HTTP+SSE, listening; http_session.py, sse_server.py its sessions
    http_client.py   Streamable HTTP, dialling
    sse_client.py    HTTP+SSE of 2024-11-05, dialling
    http_dial.py     what both HTTP clients share: connections, addresses, error bodies
    remote.py        a URL whose transport is found out on the first frame

Only ``app/wiring.py`` and the package's door name concrete endpoints.
"""
