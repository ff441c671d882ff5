"""Listen for clients over Streamable HTTP, HTTP+SSE and WebSocket, on one port."""
