"""A large frame is gone over in steps, and between them others go on; for a small one nobody need wait."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bench.flood.corpus import make
from relay.auth.origin import OriginPolicy
from relay.endpoints.core.turns import LARGE
from relay.endpoints.http import gate
from relay.endpoints.http.gate import Checks
from relay.endpoints.http.server.modern import ModernClients
from relay.endpoints.http.server.mount import Mount
from relay.frames.frame import Frame
from relay.limits import DEFAULT_LIMITS
from tests.endpoints.http.modern_house import ask, modern_house

SMALL = 2**16


class Turns:
    """Counts turns of the loop, and notes in which one each step was taken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self._now = 0
        self.steps: list[tuple[str, int]] = []

    def watch(self, owner: Any, name: str) -> None:
        """Note when this is called; it does what it did."""
        original = getattr(owner, name)

        @functools.wraps(original)
        def noting(*args: Any, **kwargs: Any) -> Any:
            self.steps.append((name, self._now))
            return original(*args, **kwargs)

        self._patch.setattr(owner, name, noting)

    async def _count(self) -> None:
        while True:
            self._now += 1
            await asyncio.sleep(0)

    @contextlib.asynccontextmanager
    async def counted(self) -> AsyncIterator[None]:
        task = asyncio.get_running_loop().create_task(self._count())
        try:
            yield
        finally:
            self.steps.append(("the end", self._now))
            task.cancel()

    def least_between(self, *names: str) -> int:
        """Return how many turns others had at the least between the last call of each of these and the next one's."""
        at = [dict(self.steps)[name] for name in names]
        return min(later - before for before, later in zip(at, at[1:], strict=False))


@pytest.mark.parametrize("size", [SMALL, LARGE + SMALL])
async def test_others_go_on_between_the_checks_of_a_large_body(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each goes over all of it; together they would take 100 ms."""
    turns = Turns(monkeypatch)
    for name in ("is_utf8", "repeated_key", "read_facts"):
        turns.watch(gate, name)
    turns.watch(Frame, "excess")
    turns.watch(Frame, "read_whole")
    body = make("emoji", size)
    async with turns.counted():
        frame = await Checks(DEFAULT_LIMITS, OriginPolicy("127.0.0.1")).check_frame_in_turns(body, None)
    assert frame.raw == body
    assert frame.head.id == 1
    if size > LARGE:
        order = ("excess", "is_utf8", "read_whole", "repeated_key", "read_facts", "the end")
        assert turns.least_between(*order) > 1
    else:
        assert dict(turns.steps)["repeated_key"] == dict(turns.steps)["the end"]


async def test_others_go_on_between_the_check_of_headers_and_the_renaming(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request of 2026-07-28 is held against its headers, and gets a number: each goes over all of it."""
    async with modern_house() as there:
        client, server = await there.warm()
        turns = Turns(monkeypatch)
        turns.watch(Mount, "session_for")
        turns.watch(ModernClients, "accept")
        async with turns.counted():
            posting, _ = await there.posted(client, server, ask(1, fill="x" * (LARGE + SMALL)))
        posting.cancel()
        assert turns.least_between("session_for", "accept") > 1
