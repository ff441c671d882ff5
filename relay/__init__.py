"""A relay of raw JSON-RPC frames between MCP transports.

    import relay

    await relay.pipe(relay.connect("stdio:"), relay.connect("https://example.com/mcp"))

Layers, each of which imports only from those below it:

    cli.py, app/     turn the command line into a running relay
    pipe.py          the loop between two endpoints
    endpoints/       all I/O: stdio, children, HTTP, memory
    routing/, auth/  pure tables; who is admitted
    frames/          bytes to frames and back
    errors.py, limits.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.loading import without_collecting

with without_collecting():
    from relay.app.run.wiring import connect
    from relay.endpoints.base import Endpoint, Listener
    from relay.endpoints.core.memory import memory_pair
    from relay.errors import RelayError
    from relay.frames.frame import Frame
    from relay.limits import Limits
    from relay.pipe import Observer, PipeReport, pipe

if TYPE_CHECKING:
    from relay.app.run.failover import balance, fallback
    from relay.app.run.listening import listen
    from relay.app.run.sharing import shared

__all__ = [
    "Endpoint",
    "Frame",
    "Limits",
    "Listener",
    "Observer",
    "PipeReport",
    "RelayError",
    "__version__",
    "balance",
    "connect",
    "fallback",
    "listen",
    "memory_pair",
    "pipe",
    "shared",
]


# The modules of rarely used names: importlib.metadata costs 20 ms, and a pool of servers 10.
_LATE = {
    "balance": "relay.app.run.failover",
    "fallback": "relay.app.run.failover",
    "listen": "relay.app.run.listening",
    "shared": "relay.app.run.sharing",
}


def __getattr__(name: str) -> Any:
    """Import a rarely used name at its first use."""
    if name == "__version__":
        from importlib.metadata import version

        return version("mcp-frame-relay")
    if name in _LATE:
        from importlib import import_module

        return getattr(import_module(_LATE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
