"""Every listener with every target: no frame is lost, duplicated, reordered, misdelivered or changed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.e2e.pairs import LISTENERS, TARGETS, far_end, run_pairs


@pytest.mark.async_timeout(100)
@pytest.mark.only_loop("uvloop")
@pytest.mark.parametrize("target", TARGETS)
async def test_every_listener_before(target: str) -> None:
    """8 clients with the same ids, 160 calls a pair: progress, requests of the server, cancelling, idle, 1 MiB.

    `make soak` makes 10,000 and 16 MiB, and CI 1,000 of it.
    """
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are too deep for the path of a socket
        async with far_end(Path(folder)) as far:
            rows = [row async for row in run_pairs(target, Path(folder), far, 160, largest=2**20)]
    assert [row.listener for row in rows] == [one for one in LISTENERS if (one, target) != ("stdio", "stdio")]
    for row in rows:
        assert not row.faults, row
        assert row.answered >= 160


@pytest.mark.async_timeout(100)
@pytest.mark.only_loop("uvloop")
@pytest.mark.parametrize("target", TARGETS)
async def test_every_listener_before_with_parts_of_others(target: str) -> None:
    """The same with the official SDK or the ``websockets`` library at one end at least, wherever there is such."""
    with tempfile.TemporaryDirectory() as folder:
        async with far_end(Path(folder)) as far:
            rows = [row async for row in run_pairs(target, Path(folder), far, 40, is_theirs=True, largest=2**20)]
    left_out = {"tcp": ("tcp", "unix"), "unix": ("tcp", "unix"), "stdio": ("stdio",)}.get(target, ())
    assert [row.listener for row in rows] == [one for one in LISTENERS if one not in left_out]
    for row in rows:
        assert not row.faults, row
        assert row.answered >= 40
        assert {row.client, row.server} != {"ours"}, row
