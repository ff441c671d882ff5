"""JSON-RPC messages as bytes: no I/O, no clock, no asyncio. What MCP says of them is in ``relay/mcp/``.

frame.py       Frame, one message exactly as it arrived
head.py        Head, the little of a message that the relay reads: kind, id, method, progress token
envelope.py    the head, read from the bytes
strictness.py  JSON that parsers read differently: repeated keys, half surrogate pairs, odd or huge names
json_cost.py   what a message would cost to read, counted before it is read
json_scan.py   where members and elements stand, found without building them
ids.py         another id, token or target spliced into a message
lines.py       LineBuffer, a bounded splitter of bytes into lines
ndjson.py      LineSplitter, newline-delimited JSON: stdio, TCP, Unix sockets
sse.py         SseDecoder and encode_event, Server-Sent Events
replies.py     the JSON-RPC errors that the relay answers with
repair.py      answers that are no proper JSON-RPC, mended or replaced by an error
"""
