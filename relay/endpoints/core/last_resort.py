"""Give a request the outcome that an answer which fits nobody may be, unless its own comes first.

The tables say which request that is (``routing/matching.py``); here is the clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from relay.frames.frame import Frame
from relay.routing.matching import Strays

__all__ = ["give_later"]


def give_later(strays: Strays, seconds: float, give: Callable[[Frame], None]) -> None:
    """Let ``give`` take each outcome that is in doubt for so many seconds, as if the peer had sent it."""

    def look(outcome: Frame) -> None:
        request_id = outcome.head.id
        assert request_id is not None, "it is a request's"
        if strays.doubts.get(request_id) is outcome:  # and not that of another, under the same id
            del strays.doubts[request_id]
            give(outcome)

    def note(outcome: Frame) -> None:
        asyncio.get_running_loop().call_later(seconds, look, outcome)

    strays.on_doubt = note
