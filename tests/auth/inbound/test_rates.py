"""How many requests each client may send, by a clock of the test's own."""

from __future__ import annotations

import pytest

from relay.auth.inbound.rates import Rate, Rates


def test_i_14_so_many_at_once_and_then_evenly() -> None:
    """Each key for itself; a refused request costs nothing."""
    rates = Rates(Rate(3, 60))
    assert [rates.take("a", 0) for _ in range(3)] == [0, 0, 0]
    assert rates.take("a", 0) == rates.take("a", 0) == 20
    assert rates.take("b", 0) == 0
    assert rates.take("a", 15) == pytest.approx(5)
    assert rates.take("a", 20) == 0
    assert rates.take("a", 21) == pytest.approx(19)
    assert [rates.take("a", 10_000) for _ in range(3)] == [0, 0, 0]
    assert rates.take("a", 10_000) == 20


def test_i_14_the_table_has_an_end() -> None:
    """The key that was used least recently is forgotten."""
    rates = Rates(Rate(1, 1))
    for number in range(20_000):
        rates.take(f"{number}", 0)
    assert len(rates._left) == 16_384
