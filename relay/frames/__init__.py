"""Bytes to frames and back: no I/O, no clock, no asyncio.

frame.py       Frame, one JSON-RPC message as it arrived; Head, the little of it the relay reads
lines.py       LineBuffer, a bounded splitter of bytes into lines
ndjson.py      LineSplitter, newline-delimited JSON: stdio, TCP, Unix sockets
sse.py         SseDecoder and encode_event, Server-Sent Events
replies.py     the few frames the relay writes itself
http_rules.py  what HTTP says about a frame: headers, media types, statuses
"""
