"""Rota: whose turn it is, and who is left out."""

from __future__ import annotations

from relay.routing.schedule import Rota, wait_before_try


def chosen(rota: Rota, count: int) -> list[int | None]:
    return [rota.choose() for _ in range(count)]


def test_in_order_is_the_first_that_is_well() -> None:
    """Every time; the next one only while it is ejected."""
    rota = Rota("abc", "in-order")
    assert chosen(rota, 3) == [0, 0, 0]
    assert rota.choose({0}) == 1
    assert rota.refused(0, "refused")
    assert chosen(rota, 2) == [1, 1]
    rota.answered(0)
    assert rota.choose() == 0


def test_round_robin() -> None:
    """One after the other, without those that are left out."""
    rota = Rota("abc", "round-robin")
    assert chosen(rota, 4) == [0, 1, 2, 0]
    rota.refused(1, "refused")
    assert chosen(rota, 4) == [2, 0, 2, 0]
    assert rota.choose({0, 2}) is None


def test_least_in_flight() -> None:
    """Requests count before sessions; of equals, whose turn it is."""
    rota = Rota("abc", "least-in-flight")
    rota.standings[0].in_flight = rota.standings[1].in_flight = 1
    assert chosen(rota, 2) == [2, 2]
    rota.standings[2].in_flight = 1
    rota.standings[0].sessions = rota.standings[2].sessions = 1
    assert rota.choose() == 1
    rota.standings[1].sessions = 1
    assert chosen(rota, 3) == [2, 0, 1]


def test_three_failures_in_a_row_eject() -> None:
    """An answer in between starts the count anew; a refusal needs no second."""
    rota = Rota("ab", "round-robin")
    assert [rota.failed(0, "silent") for _ in range(2)] == [False, False]
    rota.answered(0)
    assert [rota.failed(0, "silent") for _ in range(4)] == [False, False, True, False]
    assert rota.standings[0].fault == "silent"
    assert rota.refused(1, "refused") and not rota.refused(1, "again")
    assert not rota.has_other(0)
    rota.answered(1)
    assert rota.has_other(0) and not rota.has_other(1)


def test_if_all_are_ejected_all_are_asked() -> None:
    """One may be well again before we know."""
    rota = Rota("ab", "round-robin")
    rota.refused(0, "refused")
    rota.refused(1, "refused")
    assert chosen(rota, 3) == [0, 1, 0]
    assert rota.choose({0, 1}) is None


def test_waits_double_up_to_five_seconds() -> None:
    """Half of each is by chance."""
    assert [wait_before_try(tries, 1) for tries in range(6)] == [0.5, 1, 2, 4, 5, 5]
    assert wait_before_try(10_000, 0) == 2.5


def test_who_answers_nothing_gets_three_requests() -> None:
    """While others can take them; one that has answered before is trusted with more, and who has none open with one."""
    rota = Rota("ab", "round-robin")
    for _ in range(6):
        place = rota.choose()
        assert place is not None
        rota.took(place)
        assert rota.is_untried == (rota.standings[0].unanswered == rota.standings[1].unanswered == 3)
    assert [one.unanswered for one in rota.standings] == [3, 3]
    assert chosen(rota, 2) == [0, 1], "nobody is known to be better"
    rota.answered(1)
    assert not rota.is_untried
    assert chosen(rota, 3) == [1, 1, 1]
    for _ in range(3):
        rota.took(1)
    assert chosen(rota, 2) == [1, 1], "which has shown that it answers"
    rota.settled(0, is_excused=True)
    assert rota.choose() == 0
    rota.took(0)
    for _ in range(3):
        rota.settled(0)
    assert (rota.choose({1}), rota.standings[0].unanswered) == (0, 3)
    assert rota.choose() == 0, "which has nothing to lose"


def test_an_order_is_an_order() -> None:
    """Who has fallbacks gets all requests while it is well."""
    rota = Rota("ab", "in-order")
    for _ in range(5):
        assert rota.choose() == 0
        rota.took(0)
    assert not rota.is_untried
