"""Settle a request with a stray answer after a wait, unless its own answer comes first.

``routing/matching.py`` decides which request an answer without a matching id may belong to. This module has the clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from relay.frames.frame import Frame
from relay.routing.matching import Strays

__all__ = ["give_later"]


def give_later(strays: Strays, seconds: float, give: Callable[[Frame], None]) -> None:
    """Call ``give`` with each outcome that stays in doubt for ``seconds``, as if the peer had sent it."""

    def look(outcome: Frame) -> None:
        request_id = outcome.head.id
        assert request_id is not None, "it is a request's"
        if strays.doubts.get(request_id) is outcome:  # not the outcome of a later request with the same id
            del strays.doubts[request_id]
            give(outcome)

    def note(outcome: Frame) -> None:
        asyncio.get_running_loop().call_later(seconds, look, outcome)

    strays.on_doubt = note
