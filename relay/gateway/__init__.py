"""A gateway for web pages: each request names the MCP server that it is for.

routes.py     what the listener serves: ``POST /proxy``, ``GET /`` and WebSocket at ``/ws``
answers.py    what becomes of a call's answer: JSON, a stream, or ``{"detail": …}``
upstreams.py  the servers that are in use, and when they are left
upstream.py   one server on behalf of one principal: the handshake, and the calls
sockets.py    a page's WebSocket, joined to a server

The checks of both requests are in the gate (``endpoints/http/gate.py``). The body of a call is read in
``endpoints/http/proxied_call.py``. The guard beneath every dial is ``endpoints/core/egress.py``.
"""
