"""What a listener knows of the server behind it: enough to refuse a request with a wrong header or version.

A server on stdio sees no headers, and some servers ignore the version after the first request. So the relay must check
both (2026-07-28, Streamable HTTP, "Server Validation"). It learns from the answers that pass, and asks the server where
it must know before it forwards a request.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from relay.frames.frame import Frame
from relay.frames.strictness import UNREADABLE, read_text
from relay.mcp.facts import RequestFacts
from relay.mcp.revisions import MODERN_VERSION
from relay.mcp.tool_headers import ToolHeaders

__all__ = ["ServerProfile", "next_cursor"]

_RELIST = 30.0  # seconds after which a call of an unlisted tool makes the relay ask for the list again


class _Result(msgspec.Struct):
    supportedVersions: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    nextCursor: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Answer(msgspec.Struct):
    result: _Result | None = None


_decode = msgspec.json.Decoder(_Answer).decode
_decode_versions = msgspec.json.Decoder(tuple[str, ...]).decode
_MOST_VERSIONS = 4096  # bytes of their list


def _result(answer: Frame) -> _Result:
    try:
        return _decode(answer.raw).result or _Result()
    except UNREADABLE:
        return _Result()


def next_cursor(answer: Frame) -> str | None:
    """Return the cursor of the next page of a list, if there is one."""
    return read_text(_result(answer).nextCursor)


def _versions(answer: Frame) -> tuple[str, ...] | None:
    """Return the versions that a server declares, if it declares any."""
    listed = _result(answer).supportedVersions
    if isinstance(listed, msgspec.UnsetType) or memoryview(listed).nbytes > _MOST_VERSIONS:
        return None
    try:
        versions: tuple[str, ...] = _decode_versions(listed)
        return versions
    except UNREADABLE:
        return None


class ServerProfile:
    """The versions and the tools of one server, learned from its answers."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Know nothing; ``clock`` gives seconds."""
        self.versions: tuple[str, ...] | None = None
        self.tools = ToolHeaders()
        self._clock = clock
        self._listed: float | None = None

    def take(self, method: str | None, answer: Frame) -> None:
        """Learn from the answer to a request of ``method``."""
        if method == "tools/list":
            self.tools.learn(answer)
        elif method == "server/discover" and (versions := _versions(answer)) is not None:
            self.versions = versions

    def supports(self, version: str | None) -> bool:
        """Tell whether the server supports a version; True if that is unknown."""
        return self.versions is None or version in self.versions

    def question(self, method: str | None, facts: RequestFacts) -> str | None:
        """Return the method to ask the server before a request can be checked; None if nothing is missing."""
        if facts.version != MODERN_VERSION and self.versions is None:
            return "server/discover"
        if method == "tools/call" and facts.name is not None and self.tools.of(facts.name) is None:
            if self._listed is None or self._clock() - self._listed > _RELIST:
                return "tools/list"
        return None

    def note_listed(self) -> None:
        """Note that the relay has just asked for the list of tools, so a tool that is missing there does not exist."""
        self._listed = self._clock()
