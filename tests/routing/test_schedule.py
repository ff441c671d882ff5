"""Schedule: which server's turn it is, and which are out of service."""

from __future__ import annotations

from relay.routing.schedule import Schedule, wait_before_try


def chosen(schedule: Schedule, count: int) -> list[int | None]:
    return [schedule.choose() for _ in range(count)]


def test_in_order_is_the_first_that_is_well() -> None:
    """Every time; the next one only while it is ejected."""
    schedule = Schedule("abc", "in-order")
    assert chosen(schedule, 3) == [0, 0, 0]
    assert schedule.choose({0}) == 1
    assert schedule.refused(0, "refused")
    assert chosen(schedule, 2) == [1, 1]
    schedule.answered(0)
    assert schedule.choose() == 0


def test_round_robin() -> None:
    """One after the other, without those that are left out."""
    schedule = Schedule("abc", "round-robin")
    assert chosen(schedule, 4) == [0, 1, 2, 0]
    schedule.refused(1, "refused")
    assert chosen(schedule, 4) == [2, 0, 2, 0]
    assert schedule.choose({0, 2}) is None


def test_least_in_flight() -> None:
    """Requests count before sessions; of equals, whose turn it is."""
    schedule = Schedule("abc", "least-in-flight")
    schedule.standings[0].in_flight = schedule.standings[1].in_flight = 1
    assert chosen(schedule, 2) == [2, 2]
    schedule.standings[2].in_flight = 1
    schedule.standings[0].sessions = schedule.standings[2].sessions = 1
    assert schedule.choose() == 1
    schedule.standings[1].sessions = 1
    assert chosen(schedule, 3) == [2, 0, 1]


def test_three_failures_in_a_row_eject() -> None:
    """An answer in between starts the count anew; a refusal needs no second."""
    schedule = Schedule("ab", "round-robin")
    assert [schedule.failed(0, "silent") for _ in range(2)] == [False, False]
    schedule.answered(0)
    assert [schedule.failed(0, "silent") for _ in range(4)] == [False, False, True, False]
    assert schedule.standings[0].fault == "silent"
    assert schedule.refused(1, "refused") and not schedule.refused(1, "again")
    assert not schedule.has_other(0)
    schedule.answered(1)
    assert schedule.has_other(0) and not schedule.has_other(1)


def test_if_all_are_ejected_all_are_asked() -> None:
    """One may be well again before we know."""
    schedule = Schedule("ab", "round-robin")
    schedule.refused(0, "refused")
    schedule.refused(1, "refused")
    assert chosen(schedule, 3) == [0, 1, 0]
    assert schedule.choose({0, 1}) is None


def test_waits_double_up_to_five_seconds() -> None:
    """Half of each is by chance."""
    assert [wait_before_try(tries, 1) for tries in range(6)] == [0.5, 1, 2, 4, 5, 5]
    assert wait_before_try(10_000, 0) == 2.5


def test_a_server_that_answers_nothing_gets_three_requests() -> None:
    """While others can take more; one that has answered is trusted with more, and one that has none open with one."""
    schedule = Schedule("ab", "round-robin")
    for number in range(6):
        place = schedule.choose(may_wait=True)
        assert place == number % 2
        assert not schedule.is_awaited(place)
        schedule.took(place)
    assert [schedule.is_awaited(place) for place in (0, 1)] == [True, True]
    assert chosen(schedule, 2) == [0, 1], "neither is known to be better"
    schedule.answered(1)
    assert [schedule.is_awaited(place) for place in (0, 1)] == [True, False]
    assert chosen(schedule, 3) == [1, 1, 1]
    for _ in range(3):
        schedule.took(1)
    assert chosen(schedule, 2) == [1, 1], "which has shown that it answers"
    assert [schedule.choose(may_wait=True) for _ in range(4)] == [0, 1, 0, 1], "a request that may wait takes its turn"
    schedule.kept_silent(0)
    assert [schedule.choose(may_wait=True) for _ in range(2)] == [1, 1], "the first was waited for in vain"
    schedule.settled(0, is_excused=True)
    assert schedule.choose() == 0
    schedule.took(0)
    for _ in range(3):
        schedule.settled(0)
    assert (schedule.choose({1}), schedule.standings[0].unanswered) == (0, 3)
    assert schedule.choose() == 0, "which has nothing to lose"
    schedule.answered(0)
    assert not schedule.standings[0].is_silent


def test_what_waits_counts_for_the_server_it_waits_for() -> None:
    """Else the server with the least in flight would get all of a burst."""
    schedule = Schedule("ab", "least-in-flight")
    places = []
    for _ in range(10):
        place = schedule.choose(may_wait=True)
        assert place is not None
        schedule.took(place)
        places.append(place)
    assert places == [0, 1] * 5


def test_an_order_is_an_order() -> None:
    """A server that has fallbacks gets all requests while it is well."""
    schedule = Schedule("ab", "in-order")
    for _ in range(5):
        assert schedule.choose() == 0
        schedule.took(0)
    assert not schedule.is_awaited(0)


def test_the_only_server_is_not_awaited() -> None:
    """Nothing is to be gained by waiting for it."""
    schedule = Schedule("ab", "round-robin")
    schedule.refused(1, "refused")
    for _ in range(5):
        schedule.took(0)
    assert not schedule.is_awaited(0)
