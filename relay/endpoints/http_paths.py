"""Where on its port an HTTP listener offers the server at its root: the paths, which other tools put elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFAULT_PATHS", "HttpPaths"]

MCP, SSE, MESSAGES, SERVERS = "/mcp", "/sse", "/messages/", "/servers"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpPaths:
    """The paths of one listener."""

    mcp: str = MCP
    """Streamable HTTP and WebSocket; empty: not offered."""
    sse: str = SSE
    """The stream of HTTP+SSE; empty: not offered."""
    messages: str = MESSAGES
    """Where clients of HTTP+SSE are told to POST."""
    servers: str = SERVERS
    """Below which servers with names are, ``/NAME`` following; empty: at the root."""
    health: tuple[str, ...] = ()
    """More places that say whether the relay takes something new, as plain text."""
    base_url: str = ""
    """What stands before ``messages`` in what a client of HTTP+SSE is told: empty, its own origin."""

    def known_as(self, path: str) -> str:
        """Return what a path is by default, a path without a server there as ``""``."""
        if self is DEFAULT_PATHS:
            return path
        bare = path.removesuffix("/")
        for ours, default in ((self.mcp, MCP), (self.messages, MESSAGES)):
            if ours and bare == ours.removesuffix("/"):
                return default
        return SSE if self.sse and path == self.sse else ""


DEFAULT_PATHS = HttpPaths()
