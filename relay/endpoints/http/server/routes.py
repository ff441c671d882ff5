"""Define what else a listener may serve than MCP servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from relay.endpoints.http.views import RoutesView

if TYPE_CHECKING:
    from aiohttp import web

    from relay.endpoints.http.decisions import Decision
    from relay.endpoints.http.server.context import ListenerContext
    from relay.endpoints.http.walk import Walk
    from relay.observe.hub import Hub

__all__ = ["Routes"]


class Routes(RoutesView, Protocol):
    """The paths of one listener that belong to no MCP server. The gate decides about their requests, too."""

    @property
    def places(self) -> str:
        """A text that names the paths."""

    @property
    def hub(self) -> Hub:
        """Hears what happens between the clients and the servers behind the paths."""

    def attach(self, context: ListenerContext) -> None:
        """Serve the clients of a listener, whose rules and counts ``context`` holds."""

    def begin(self, addresses: Sequence[tuple[str, int]]) -> None:
        """Note that the listener has bound these addresses."""

    async def carry_out(self, request: web.BaseRequest, walk: Walk, decision: Decision) -> web.StreamResponse:
        """Carry out the gate's decision about a request's head. Raises Refused."""

    def tidy(self, now: float) -> None:
        """End what has been idle for too long."""

    async def drain(self, seconds: float) -> None:
        """Wait for at most ``seconds`` until every request has its answer."""

    async def aclose(self) -> None:
        """End everything."""
