"""Loading modules without the cycle collector: it rests, and then is as it was."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from relay.loading import without_collecting


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """Leave the collector as it is by default."""
    gc.unfreeze()  # a test before may have run the program
    yield
    gc.unfreeze()
    gc.enable()


def test_what_was_made_counts_as_old() -> None:
    """So the first collection afterwards does not look through it."""
    with without_collecting():
        assert not gc.isenabled()
        made: list[object] = []
    assert gc.isenabled()
    assert any(one is made for one in gc.get_objects(generation=2))


def test_it_goes_on_after_a_failure() -> None:
    """A module that cannot be loaded does not switch it off for good."""
    with pytest.raises(ImportError), without_collecting():
        raise ImportError
    assert gc.isenabled()


def test_a_host_that_switched_it_off_keeps_it_off() -> None:
    """It is the host's process."""
    gc.disable()
    with without_collecting():
        pass
    assert not gc.isenabled()


def test_what_a_host_froze_stays_frozen() -> None:
    """A server that forks its workers freezes what they share."""
    gc.freeze()
    before = gc.get_freeze_count()
    with without_collecting():
        pass
    assert gc.get_freeze_count() > before // 2 > 0  # some may be gone by now
