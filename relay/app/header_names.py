"""Names of HTTP headers: which the operator may set, and which the transport sets itself."""

from __future__ import annotations

__all__ = ["HEADERS_IGNORED", "HEADERS_REFUSED", "is_header_name"]

# Headers of the transport. Configurations carry the first ones, which the bridges that the relay replaces overwrite.
HEADERS_IGNORED = ("accept", "accept-encoding", "connection", "content-type", "keep-alive", "mcp-protocol-version")
HEADERS_REFUSED = (
    "content-encoding", "content-length", "expect", "host", "last-event-id", "mcp-method", "mcp-name", "mcp-session-id",
    "te", "trailer", "transfer-encoding", "upgrade",
)  # fmt: skip


def is_header_name(name: str) -> bool:
    """Tell whether HTTP allows a header of this name."""
    return bool(name) and all(c.isascii() and (c.isalnum() or c in "!#$%&'*+-.^_`|~") for c in name)
