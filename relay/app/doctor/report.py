"""The report of ``mcp-relay test``, as lines for a person or as JSON for a program."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from relay.app.doctor.advice import CheckFailed, shown

__all__ = ["KINDS", "Found", "Listing", "as_json", "as_lines"]

KINDS = ("tools", "resources", "prompts")
_SHOWN_NAMES = 20
_TIMED = {
    "connect": "connect",
    "first_answer": "first answer",
    "discover": "server/discover",
    "initialize": "initialize",
    "round_trip": "round trip",
}


@dataclass(slots=True)
class Listing:
    """The names in a list, and whether the list is complete."""

    names: list[str] = field(default_factory=list)
    is_complete: bool = True


@dataclass(slots=True)
class Found:
    """The findings so far; None stands for unknown."""

    target: str
    transport: str | None = None
    server: str | None = None
    version: str | None = None
    discovered: list[str] = field(default_factory=list)
    """The revisions that the answer to ``server/discover`` names."""
    negotiated: str | None = None
    """The revision that the answer to ``initialize`` names."""
    milliseconds: dict[str, float] = field(default_factory=dict)
    lists: dict[str, Listing | None] = field(default_factory=dict)
    """The server's lists, by kind; None for a kind that its capabilities do not name."""
    noise: int = 0
    """Lines on a command's stdout that are not JSON-RPC."""

    @property
    def revisions(self) -> list[str]:
        """Every revision, each once, the newest first."""
        return sorted({*self.discovered, *([self.negotiated] if self.negotiated else [])}, reverse=True)


def as_json(found: Found, failure: CheckFailed | None) -> str:
    """Return everything as one JSON object on one line."""
    is_known = found.server is not None or found.version is not None
    report = {
        "ok": failure is None,
        "target": found.target,
        "transport": found.transport,
        "server": {"name": found.server, "version": found.version} if is_known else None,
        "revisions": found.revisions,
        "milliseconds": found.milliseconds,
        **{kind: _listing_as_json(found.lists.get(kind)) for kind in KINDS},
        "noise": found.noise,
        "error": None if failure is None else failure.reason,
        "advice": None if failure is None else failure.advice or None,
    }
    return json.dumps(report, ensure_ascii=False).encode("utf-8", "replace").decode()


def _listing_as_json(listing: Listing | None) -> dict[str, object] | None:
    if listing is None:
        return None
    return {"count": len(listing.names), "names": listing.names, "complete": listing.is_complete}


def as_lines(found: Found, failure: CheckFailed | None) -> list[str]:
    """Return a line for each finding."""
    rows = list(_rows(found))
    if not rows:
        return []
    rows.insert(0, ("ok" if failure is None else "failed", shown(found.target)))
    return [f"{label:<11} {text}" for label, text in rows]


def _rows(found: Found) -> Iterator[tuple[str, str]]:
    if not found.revisions:
        return
    if found.transport:
        yield "transport", found.transport
    if found.server:
        yield "server", shown(f"{found.server} {found.version or ''}".rstrip())
    by_discovery = [f"{', '.join(found.discovered)} by server/discover"] if found.discovered else []
    by_handshake = [f"{found.negotiated} by initialize"] if found.negotiated else []
    yield "revisions", shown("; ".join(by_discovery + by_handshake))
    times = [f"{words} {_spelt(found.milliseconds[key])}" for key, words in _TIMED.items() if key in found.milliseconds]
    yield "times", ", ".join(times)
    for kind, listing in found.lists.items():
        yield kind, "not offered" if listing is None else _summed_up(listing)


def _spelt(milliseconds: float) -> str:
    return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"


def _summed_up(listing: Listing) -> str:
    names = listing.names
    count = f"{len(names)}" if listing.is_complete else f"{len(names)} and more"
    if not names:
        return count
    more = f", … {len(names) - _SHOWN_NAMES} more, see --json" if len(names) > _SHOWN_NAMES else ""
    return f"{count}: " + ", ".join(map(shown, names[:_SHOWN_NAMES])) + more
