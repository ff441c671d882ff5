"""All I/O: what each transport needs to be one side of a pipe.

    base.py          Endpoint and Listener, the two interfaces
    inbox.py         FrameInbox, received frames that wait for their receiver, bounded
    tasks.py         TaskScope, the background tasks of an endpoint that has several connections
    byte_stream.py   newline-delimited frames over any asyncio transport
    own_stdio.py     this process's stdin and stdout
    child.py         a child process's stdin and stdout; guardian.py ends children whose relay was killed
    settlement.py    who waits for what on a connection that carries everything: one outcome for each request
    tcp.py           TCP and Unix sockets, dialled; socket_listener.py yields the peers that come to us
    websocket.py     WebSocket, dialled and accepted
    dead_peers.py    what the kernel is asked to find out about TCP connections
    lazy.py          an endpoint that is made when first used
    balancer.py      several servers that stand in for one another; choice.py is one client's share of them
    memory.py        two endpoints joined in memory
    http_server.py   Streamable HTTP and HTTP+SSE, listening: http_checks.py its rules, http_session.py and
                     sse_server.py its sessions, http_stream.py their streams, http_connections.py and
                     http_server_lane.py its connections
    modern_clients.py the clients of 2026-07-28, who share a server; known_server.py what is known of it
    http_pass.py     HTTP to HTTP, request by request; passing_stream.py a stream that passes
    shared.py        one server for several sessions; greeted.py a server that the relay initializes itself
    stdio_listener.py own stdio as a listener
    http_client.py   Streamable HTTP, dialling; http_client_lane.py its kept connections
    sse_client.py    HTTP+SSE of 2024-11-05, dialling
    dial.py          what both HTTP clients need of connections: http_dial.py makes them with aiohttp,
                     httpx_dial.py with a caller's own httpx client, whose event streams httpx_events.py reads by
                     httpx-sse; http_login.py says who we are
    remote_client.py what both HTTP clients are: exchanges, a handshake, one outcome for each request
    remote.py        a URL whose transport is found out on the first frame

Only ``app/wiring.py`` and the package's door name concrete endpoints.
"""
