"""What MCP says of JSON-RPC messages, as pure functions: no I/O, no clock, no asyncio.

revisions.py     the known versions, and what a session of each may do
headers.py       the HTTP headers of MCP, made from a frame and checked against it
facts.py         what a frame of 2026-07-28 says of itself in its ``_meta``
tool_headers.py  tool parameters that an HTTP header mirrors
tool_list.py     the tools in an answer to ``tools/list``
errors.py        the JSON-RPC errors of MCP, and the HTTP status of each
handshake.py     what the relay itself says to a peer, and how it reads the answer
profile.py       ServerProfile, what is known of one server
"""
