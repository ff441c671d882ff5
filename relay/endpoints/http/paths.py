"""Where an HTTP listener offers a server: the paths, at the root or behind a name, which other tools put elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

__all__ = ["DEFAULT_PATHS", "HttpPaths"]

MCP, SSE, MESSAGES, SERVERS = "/mcp", "/sse", "/messages/", "/servers"


class HttpPaths(msgspec.Struct, frozen=True, kw_only=True):
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

    def places(self, path: str) -> Iterator[tuple[str, str]]:
        """Yield the prefixes below which a path may be a server's, each with what the path behind it is by default."""
        bare = path.removesuffix("/")
        for ours, default in ((self.mcp, MCP), (self.messages.removesuffix("/"), MESSAGES)):
            if ours and bare.endswith(ours):
                yield bare[: -len(ours)], default
        if self.sse and path.endswith(self.sse):
            yield path[: -len(self.sse)], SSE


DEFAULT_PATHS = HttpPaths()
