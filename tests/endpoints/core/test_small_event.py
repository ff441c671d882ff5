"""SmallEvent against asyncio.Event: the same calls wake the same waiters."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from relay.endpoints.core.small_event import SmallEvent

STEPS = ("set", "clear", "wait", "turn")


async def waiters_gone_on(event: SmallEvent | asyncio.Event, steps: tuple[str, ...]) -> list[int | bool]:
    """Do the steps; return at which of them each waiter went on, in order, and whether the event was set after each."""
    seen: list[int | bool] = []
    waiting: list[asyncio.Task[None]] = []

    async def wait(number: int) -> None:
        await event.wait()
        seen.append(number)

    async with asyncio.TaskGroup() as group:
        for number, step in enumerate(steps):
            if step == "wait":
                waiting.append(group.create_task(wait(number)))
            elif step == "turn":
                for _ in range(3):
                    await asyncio.sleep(0)
            elif step == "set":
                event.set()
            else:
                event.clear()
            seen.append(event.is_set())
        for task in waiting:
            task.cancel()
    return seen


@pytest.mark.parametrize("first", STEPS)
async def test_waiters_go_on_as_those_of_asyncio_do(first: str) -> None:
    """Whatever is done first, and whether anybody waits before it is set, after, or while it is cleared again."""
    for rest in itertools.product(STEPS, repeat=5):
        steps = (first, *rest)
        assert await waiters_gone_on(SmallEvent(), steps) == await waiters_gone_on(asyncio.Event(), steps), steps


async def test_nothing_is_made_for_nobody() -> None:
    """An event that nobody waits for has no queue of waiters, which is what it is for."""
    event = SmallEvent()
    event.set()
    await event.wait()
    event.clear()
    assert event._event is None
