"""The circuit of a server that keeps ending: waits that double, five ends in a minute, one probe at a time."""

from __future__ import annotations

import pytest

from relay.routing.circuit import Circuit


def opened(now: float = 0.0, chance: float = 1.0) -> Circuit:
    """Return a circuit that five failures at one moment have opened: until 3.2 s later, with a chance of 1."""
    circuit = Circuit()
    told = [circuit.failed(now, f"fault {number}", chance=chance) for number in range(5)]
    assert told == [False, False, False, False, True]
    return circuit


def test_nothing_has_failed() -> None:
    """Who has not failed is started at once, however often."""
    circuit = Circuit()
    assert [circuit.ask(0.0) for _ in range(9)] == ["start"] * 9
    assert (circuit.fault, circuit.is_open, circuit.recent_failures) == (None, False, 0)


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_waits_double_and_chance_spreads_them(chance: float) -> None:
    """0.2, 0.4, 0.8, 1.6 s at most; until then a start waits, from then on it may go."""
    circuit = Circuit()
    for number, longest in enumerate((0.2, 0.4, 0.8, 1.6)):
        now = 10.0 * number
        assert not circuit.failed(now, "exited", chance=chance)
        assert circuit.until == pytest.approx(now + longest * chance)
        assert circuit.ask(circuit.until - 0.001) == "wait"
        assert circuit.ask(circuit.until) == "start"


def test_five_in_a_minute_open_it() -> None:
    """The fifth within 60 s does; four, and a fifth 60 s after the first, do not."""
    circuit = Circuit()
    for now in (0.0, 20.0, 40.0, 59.0):
        assert not circuit.failed(now, "exited")
    assert not circuit.failed(60.0, "exited"), "the first is 60 s old"
    assert not circuit.is_open
    assert circuit.failed(61.0, "exited")
    assert circuit.is_open and circuit.recent_failures == 5


def test_while_open_nobody_waits_and_nothing_starts() -> None:
    """Every start is refused until its time has come; what was seen last is known."""
    circuit = opened(100.0)
    assert circuit.until == pytest.approx(103.2)
    assert [circuit.ask(now) for now in (100.0, 103.1)] == ["refuse"] * 2
    assert circuit.fault == "fault 4"


def test_it_stays_open_for_half_its_time_whatever_the_chance() -> None:
    """Who was told to come again later does not come in vain."""
    assert opened(chance=0.0).until == pytest.approx(1.6)


def test_half_open_admits_one_probe() -> None:
    """The others are refused while it is under way."""
    circuit = opened()
    assert [circuit.ask(3.2) for _ in range(3)] == ["start", "refuse", "refuse"]
    assert circuit.has_probe


def test_a_probe_that_fails_opens_it_again_for_longer() -> None:
    """6.4, 12.8, 25.6 s, then 30 at most; it was open all the time, so that is no news."""
    circuit, now = opened(), 3.2
    for longest in (6.4, 12.8, 25.6, 30.0, 30.0):
        assert circuit.ask(now) == "start"
        assert not circuit.failed(now, "again", is_probe=True)
        assert (circuit.is_open, circuit.has_probe) == (True, False)
        assert circuit.until == pytest.approx(now + longest)
        now = circuit.until


def test_a_probe_that_answers_closes_it() -> None:
    """All may start then; but a failure within the next minute opens it at once, for longer than before."""
    circuit = opened()
    circuit.ask(3.2)
    circuit.answered()
    assert (circuit.fault, circuit.is_open, circuit.has_probe) == (None, False, False)
    assert [circuit.ask(3.3) for _ in range(3)] == ["start"] * 3
    assert circuit.failed(30.0, "again")
    assert circuit.until == pytest.approx(36.4)


def test_a_probe_that_ended_undecided_makes_way_for_the_next() -> None:
    """Its client may have left before it could answer."""
    circuit = opened()
    circuit.ask(3.2)
    circuit.probe_ended()
    assert (circuit.is_open, circuit.ask(3.2)) == (True, "start")


def test_others_that_end_while_it_is_open_change_nothing_but_what_was_seen() -> None:
    """They were started before it opened; the probe stays the one that decides."""
    circuit = opened()
    circuit.ask(3.2)
    assert not circuit.failed(3.3, "an old one")
    assert (circuit.fault, circuit.has_probe) == ("an old one", True)
    assert circuit.until == pytest.approx(3.2)


def test_a_healthy_run_is_forgiven_all() -> None:
    """Who ran for 60 s and then fails has failed once."""
    circuit = Circuit()
    for now in (0.0, 1.0, 2.0, 3.0):
        circuit.failed(now, "exited")
    assert not circuit.failed(4.0, "exited after long", ran=60.0)
    assert circuit.recent_failures == 1
    assert circuit.until == pytest.approx(4.2)


def test_a_run_that_goes_on_well_is_forgiven_too() -> None:
    """After 60 s, not after 59; an open circuit is closed by its probe only."""
    circuit = Circuit()
    circuit.failed(0.0, "exited")
    circuit.ran(59.0)
    assert circuit.recent_failures == 1
    circuit.ran(60.0)
    assert (circuit.recent_failures, circuit.fault, circuit.ask(0.0)) == (0, None, "start")
    circuit = opened()
    circuit.ran(600.0)
    assert circuit.is_open


def test_a_quiet_minute_ends_probation_and_the_growing_of_waits() -> None:
    """Nothing failed for 60 s: the next failure is the first."""
    circuit = opened()
    circuit.ask(3.2)
    circuit.answered()
    assert not circuit.failed(60.0, "exited")
    assert (circuit.is_open, circuit.recent_failures) == (False, 1)
    assert circuit.until == pytest.approx(60.2)
