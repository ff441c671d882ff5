"""``mcp-relay install``: put an entry that starts this program into a client's configuration."""
