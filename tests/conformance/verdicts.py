"""Decide what the runner's checks mean, and what was lost between two runs of one scenario. Pure: no I/O.

A scenario passes if no check failed and at least one of its own checks succeeded. `wire-schema-…` checks are no proof
of that: the runner adds them to every scenario and they hold for whatever was sent, be it nothing but a handshake. So
a scenario whose checks were all skipped or informational has failed: it passed only because nothing happened.

Through a relay more is asked: every check that succeeded direct succeeds again, and none fails that did not fail
direct. A check that came out as skipped or as a warning, or did not come at all, has been lost. Two checks may come out
as a note, because they look at what HTTP leaves to the relay, not at what the server said: ALLOWED.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NO_PROOF = "wire-schema-"
ALLOWED = {
    "server-sse-streams-functional (ServerSSEStreamsFunctional)": (
        "an answer that comes first is sent as plain JSON, which the specification leaves to the server"
    ),
    "server-sse-disconnect-resume (ServerDisconnectResume)": (
        "a server's dropped stream is the relay's to resume, so the client's is not dropped"
    ),
}
NOTHING_HAPPENED = "nothing happened: no check of the scenario itself succeeded"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one scenario ended one way: the names of its checks, with the reason of each failure."""

    succeeded: frozenset[str] = frozenset()
    noted: frozenset[str] = frozenset()
    failed: Mapping[str, str] | None = None
    trouble: str | None = None  # why there are no checks, or why those there are do not count

    @property
    def passed(self) -> bool:
        return not self.reason

    @property
    def reason(self) -> str:
        """Say why it failed; empty if it passed."""
        if self.failed:
            return "; ".join(f"{name}: {why}" for name, why in self.failed.items())
        if self.trouble is not None:
            return self.trouble
        return "" if any(not name.startswith(NO_PROOF) for name in self.succeeded) else NOTHING_HAPPENED


def judge(checks: list[dict[str, Any]], trouble: str | None = None) -> Verdict:
    """Read the checks that the runner wrote for one scenario. One that failed once has not succeeded."""
    failed = {name_of(one): one_line(one.get("errorMessage")) for one in checks if one["status"] == "FAILURE"}
    succeeded = {name_of(one) for one in checks if one["status"] == "SUCCESS"} - failed.keys()
    noted = {name_of(one) for one in checks if one["status"] == "INFO"}
    return Verdict(frozenset(succeeded), frozenset(noted), failed, trouble)


def name_of(check: dict[str, Any]) -> str:
    """Return what tells a check from the others of its scenario; some share an id."""
    return str(check["id"] if check["id"] == check["name"] else f"{check['id']} ({check['name']})")


def one_line(text: str | None, longest: int = 240) -> str:
    """Make a message fit for a table."""
    line = " ".join((text or "no reason given").split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def lost(direct: Verdict, relayed: Verdict) -> str:
    """Say what the relay lost of a scenario; empty if nothing."""
    if direct.passed and not relayed.passed:
        return relayed.reason
    new = {name: why for name, why in (relayed.failed or {}).items() if name not in (direct.failed or {})}
    if new:
        return "fails otherwise than direct: " + "; ".join(f"{name}: {why}" for name, why in new.items())
    if missing := direct.succeeded - relayed.succeeded - (relayed.noted & ALLOWED.keys()):
        return f"succeeded only direct: {', '.join(sorted(missing))}"
    return ""


def allowed(direct: Verdict, relayed: Verdict) -> frozenset[str]:
    """Return the checks that came out as a note and may."""
    return (direct.succeeded - relayed.succeeded) & relayed.noted & ALLOWED.keys()
