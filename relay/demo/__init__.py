"""A small MCP server, and a program that shows the relay at work in front of it."""
