"""The background tasks of an endpoint that holds several connections at once.

The task that enters an ``asyncio.TaskGroup`` must also leave it, but different tasks make, use and close an endpoint.
Only this module makes tasks outside a group, and it keeps the group's promise: no task outlives ``aclose``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

__all__ = ["TaskScope"]

logger = logging.getLogger("relay")


class TaskScope:
    """A set of named tasks that end together."""

    def __init__(self) -> None:
        """Start empty."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def __len__(self) -> int:
        """Return the number of running tasks."""
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run ``work`` in a task of this scope, and log an exception that it raises, which is a bug of ours."""
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work, name=name)
        if self._closed:
            task.cancel()
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            logger.error("%s: unexpected %s", task.get_name(), type(failure).__name__, exc_info=failure)

    async def join(self) -> None:
        """Wait until every task has ended by itself."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def aclose(self) -> None:
        """Cancel every task and wait for its end; ``spawn`` then cancels new tasks at once."""
        self._closed = True
        current = asyncio.current_task()
        while tasks := [task for task in self._tasks if task is not current]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
