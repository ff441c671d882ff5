"""The background tasks of an endpoint that holds several connections at once.

An ``asyncio.TaskGroup`` must be left by the task that entered it; an endpoint is made, used and closed by whoever has
it. This is the one place where tasks are made outside a group, and it keeps the group's promise: nobody outlives
``aclose``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

__all__ = ["TaskScope"]

logger = logging.getLogger("relay")


class TaskScope:
    """A set of named tasks with one end."""

    def __init__(self) -> None:
        """Start empty."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def __len__(self) -> int:
        """Count the tasks that run."""
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run ``work`` in a task of this scope. An exception it lets out is logged: it is a bug of ours."""
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
        """Cancel every task and wait for its end; new ones are cancelled at once."""
        self._closed = True
        current = asyncio.current_task()
        while tasks := [task for task in self._tasks if task is not current]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
