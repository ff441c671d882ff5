"""Load modules without looking for garbage among what they make: there is none, and the search took 8 ms of a start."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

__all__ = ["without_collecting"]


@contextlib.contextmanager
def without_collecting() -> Iterator[None]:
    """Keep the cycle collector from running.

    What was made meanwhile counts as old, or it would look through all of that at once afterwards. It stays switched
    off if the host has done that, and what the host has frozen stays frozen.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
            gc.unfreeze()
        gc.enable()
