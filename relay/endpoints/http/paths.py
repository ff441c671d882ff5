"""Define the paths at which an HTTP listener offers a server, at the root or below a name."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

__all__ = ["DEFAULT_PATHS", "HttpPaths"]

MCP, SSE, MESSAGES, SERVERS = "/mcp", "/sse", "/messages/", "/servers"
METADATA = "/.well-known/oauth-protected-resource"
"""Where clients learn who issues tokens for a server here (RFC 9728)."""
BANNER, PROXY, PROXY_SOCKET = "/", "/proxy", "/ws"
"""The paths of a gateway."""


class HttpPaths(msgspec.Struct, frozen=True, kw_only=True):
    """The paths of one listener."""

    mcp: str = MCP
    """The path of Streamable HTTP and WebSocket; if empty, the listener does not offer them."""
    sse: str = SSE
    """The path of the HTTP+SSE stream; if empty, the listener does not offer HTTP+SSE."""
    messages: str = MESSAGES
    """The path to which HTTP+SSE clients POST."""
    servers: str = SERVERS
    """The prefix of named servers, before ``/NAME``; if empty, they are at the root."""
    health: tuple[str, ...] = ()
    """Additional health paths, which report in plain text whether the relay accepts new work."""
    base_url: str = ""
    """The prefix of ``messages`` in the endpoint event of HTTP+SSE; if empty, the client's own origin applies."""

    def places(self, path: str) -> Iterator[tuple[str, str]]:
        """Yield each prefix below which ``path`` may belong to a server, with the default name of the rest of it."""
        bare = path.removesuffix("/")
        for ours, default in ((self.mcp, MCP), (self.messages.removesuffix("/"), MESSAGES)):
            if ours and bare.endswith(ours):
                yield bare[: -len(ours)], default
        if self.sse and path.endswith(self.sse):
            yield path[: -len(self.sse)], SSE


DEFAULT_PATHS = HttpPaths()
