"""The table of ways in: how to start the relay, which client attacks, and which one calls meanwhile."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.flood.clients import Client, HttpClient, LineClient, SseClient, WebSocketClient
from bench.sockets import connect

__all__ = ["DOORS", "Door"]


@dataclass(frozen=True, slots=True)
class Door:
    """One way in. In the words braces stand for ports and places: see ``run``."""

    name: str
    words: tuple[str, ...]
    attacker: Callable[[int, Path], Client]
    neighbour: Callable[[int], Client]
    far: str = ""
    """How the server at the other end speaks; empty: it is a child."""
    is_ordered: bool = False
    """Whether the message comes from the server."""


CHILD = ("--", "{python}", "-m", "bench.flood.far", "stdio")
HTTP = ("--port", "{port}")
TCP = ("--listen", "tcp://127.0.0.1:{port}")
THROUGH = ("--listen", "http://127.0.0.1:{port}/mcp", "http://127.0.0.1:{far}/mcp")


def _tcp(port: int) -> LineClient:
    return LineClient(connect(port, lambda: False))


def _unix(_: int, place: Path) -> LineClient:
    made = socket.socket(socket.AF_UNIX)
    made.connect(str(place / "socket"))
    return LineClient(made)


def _http(era: str) -> Callable[[int], HttpClient]:
    return lambda port: HttpClient(port, era)


def _at(make: Callable[[int], Client]) -> Callable[[int, Path], Client]:
    return lambda port, _: make(port)


SESSION, MODERN, NOBODY = _http("session"), _http("modern"), _http("none")
FIRST_LINE: Callable[[int], Client] = lambda port: LineClient(connect(port, lambda: False), greet=False)  # noqa: E731

DOORS = {
    door.name: door
    for door in (
        # From a client.
        Door("http", (*HTTP, *CHILD), _at(NOBODY), SESSION),
        Door("http-session", (*HTTP, *CHILD), _at(SESSION), SESSION),
        Door("http-shared", (*HTTP, "--share", "shared", *CHILD), _at(SESSION), SESSION),
        Door("http-modern", (*HTTP, *CHILD), _at(MODERN), MODERN),
        Door("http-modern-legacy", (*HTTP, *CHILD), _at(MODERN), SESSION),
        Door("http-through", THROUGH, _at(SESSION), SESSION, "http-json"),
        Door("http-through-modern", THROUGH, _at(MODERN), MODERN, "http-json"),
        Door("sse-post", (*HTTP, *CHILD), _at(SseClient), SESSION),
        Door("websocket", (*HTTP, *CHILD), _at(WebSocketClient), SESSION),
        Door("tcp-first", (*TCP, *CHILD), _at(FIRST_LINE), _tcp),
        Door("tcp", (*TCP, *CHILD), _at(_tcp), _tcp),
        Door("tcp-shared", (*TCP, "--share", "shared", *CHILD), _at(_tcp), _tcp),
        Door("unix", (*TCP, "--listen", "unix:{place}/socket", *CHILD), _unix, _tcp),
        Door("tcp-to-http", (*TCP, "http://127.0.0.1:{far}/mcp"), _at(_tcp), _tcp, "http-json"),
        Door("tcp-to-websocket", (*TCP, "ws://127.0.0.1:{far}/mcp"), _at(_tcp), _tcp, "ws"),
        # From a server.
        Door("child", (*HTTP, *CHILD), _at(SESSION), SESSION, is_ordered=True),
        Door("child-shared", (*HTTP, "--share", "shared", *CHILD), _at(SESSION), SESSION, is_ordered=True),
        Door("child-modern", (*HTTP, *CHILD), _at(MODERN), MODERN, is_ordered=True),
        Door("child-tcp", (*TCP, *CHILD), _at(_tcp), _tcp, is_ordered=True),
        Door("from-http", (*TCP, "http://127.0.0.1:{far}/mcp"), _at(_tcp), _tcp, "http-json", is_ordered=True),
        Door("from-http-events", (*TCP, "http://127.0.0.1:{far}/mcp"), _at(_tcp), _tcp, "http-sse", is_ordered=True),
        Door("from-sse", (*TCP, "http://127.0.0.1:{far}/sse"), _at(_tcp), _tcp, "sse", is_ordered=True),
        Door("from-websocket", (*TCP, "ws://127.0.0.1:{far}/mcp"), _at(_tcp), _tcp, "ws", is_ordered=True),
        Door("from-tcp", (*TCP, "tcp://127.0.0.1:{far}"), _at(_tcp), _tcp, "tcp", is_ordered=True),
        Door("through-json", THROUGH, _at(SESSION), SESSION, "http-json", is_ordered=True),
        Door("through-events", THROUGH, _at(SESSION), SESSION, "http-sse", is_ordered=True),
        Door("through-modern", THROUGH, _at(MODERN), MODERN, "http-json", is_ordered=True),
    )
}  # fmt: skip
