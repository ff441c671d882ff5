"""Judge the address of a server that a page names, before anything is dialled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.endpoints.http.address import parse_url

if TYPE_CHECKING:
    from relay.endpoints.core.egress import EgressGuard

__all__ = ["CALLED", "JOINED", "check_server"]

CALLED = ("http", "https")
"""The schemes of servers that a call may be for."""
JOINED = ("http", "https", "ws", "wss")
"""The schemes of servers that a WebSocket may be joined to."""


def check_server(guard: EgressGuard, text: str, schemes: tuple[str, ...]) -> None:
    """Let a page use the server at this URL. Raises ConfigError if the guard refuses it, or its scheme is another."""
    guard.check_text(text)
    url, _ = parse_url(text, {}, schemes)
    guard.check_url(url)
