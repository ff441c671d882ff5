"""``mcp-relay test``: look at a server as a client would, and report what is there."""
