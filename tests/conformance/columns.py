"""What is run: which peer, in which era, which way; pure values.

A group is one SDK in one role and one era. Its first column is direct, the others go through a relay:

server, stdio    runner → `mcp-relay -- SERVER`
server, http     runner → `mcp-relay --listen … URL` → the server's Streamable HTTP
server, sse      runner → `mcp-relay --listen … URL` → the server's HTTP+SSE (TypeScript 1.x offers it)
client, relayed  client on stdio → `mcp-relay URL` → the runner's own server
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

LEGACY, MODERN = "2025-11-25", "2026-07-28"
ERAS = (LEGACY, MODERN)
DIRECT = "direct"
# A scenario that fails without a relay, and why: `role/sdk/era/scenario` → reason. Anything else that fails direct is
# a fault of this harness.
FAILS_DIRECT: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Group:
    """One SDK in one role and one era."""

    role: str
    sdk: str
    era: str
    ways: tuple[str, ...]

    def path(self, way: str, scenario: str) -> str:
        """Return what --only is matched against."""
        return f"{self.role}/{self.sdk}/{way}/{scenario}"

    @property
    def name(self) -> str:
        return f"{self.role} {self.sdk} {self.era}"

    def wants(self, way: str, scenario: str, only: str) -> bool:
        """Ask whether a scenario is run this way; the direct way is run for every relayed one, to compare with."""
        ways = self.ways if way == DIRECT else (way,)
        return any(fnmatch.fnmatchcase(self.path(one, scenario), only) for one in ways)


GROUPS = (
    Group("server", "ts1", LEGACY, (DIRECT, "stdio", "http", "sse")),
    Group("server", "ts2", LEGACY, (DIRECT, "stdio", "http")),
    Group("server", "py2", LEGACY, (DIRECT, "stdio", "http")),
    Group("server", "ts2", MODERN, (DIRECT, "stdio", "http")),
    Group("server", "py2", MODERN, (DIRECT, "stdio", "http")),
    Group("client", "ts1", LEGACY, (DIRECT, "relayed")),
    Group("client", "ts2", LEGACY, (DIRECT, "relayed")),
    Group("client", "py2", LEGACY, (DIRECT, "relayed")),
    Group("client", "ts2", MODERN, (DIRECT, "relayed")),
    Group("client", "py2", MODERN, (DIRECT, "relayed")),
)
