"""Listen for clients by Streamable HTTP, HTTP+SSE and WebSocket, on one port."""
