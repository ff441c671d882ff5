"""Bytes to frames and back: no I/O, no clock, no asyncio.

frame.py       Frame, one JSON-RPC message as it arrived; Head, the little of it the relay reads
lines.py       LineBuffer, a bounded splitter of bytes into lines
ndjson.py      LineSplitter, newline-delimited JSON: stdio, TCP, Unix sockets
sse.py         SseDecoder and encode_event, Server-Sent Events
rename.py      another value in the places of a frame that name a request
modern.py      what a frame of 2026-07-28 says of itself, and the HTTP headers that mirror it
replies.py     the few frames the relay writes itself
http_rules.py  what HTTP says about a frame: headers, media types, statuses
"""
