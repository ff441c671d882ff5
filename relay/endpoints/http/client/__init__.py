"""Dial a server by Streamable HTTP or HTTP+SSE."""
