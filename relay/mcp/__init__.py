"""What MCP says of frames: revisions, headers, handshakes. No I/O, no clock, no asyncio."""
