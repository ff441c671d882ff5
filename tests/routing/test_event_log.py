"""EventLog against a simple model: nothing unread is lost while a reader is attached, and the bounds hold."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from relay.routing.event_log import Event, EventLog, Kept, parse_event_id

MAX_BYTES, MAX_EVENTS = 20, 4


class EventLogMachine(RuleBasedStateMachine):
    """The log beside a plain list of all events that ever came."""

    def __init__(self) -> None:
        super().__init__()
        self.log = EventLog(7, MAX_BYTES, MAX_EVENTS)
        self.events: list[Event] = []
        self.kept = 0  # index of the oldest event that is kept
        self.written = 0
        self.dropped = 0
        self.has_reader = False
        self.now = 0.0

    def trimmed(self, before: float) -> None:
        """Trim the model."""
        while self.kept < len(self.events):
            kept = self.events[self.kept :]
            is_over = sum(len(event.line) for event in kept) > MAX_BYTES or len(kept) > MAX_EVENTS
            if not is_over and kept[0].came >= before:
                return
            if kept[0].number > self.written:
                if self.has_reader:
                    return
                self.written = kept[0].number
                self.dropped += 1
            self.kept += 1

    @rule(size=st.integers(0, 25), later=st.integers(0, 3))
    def append(self, size: int, later: int) -> None:
        self.now += later
        line = bytes(size)
        self.log.append(line, self.now, has_reader=self.has_reader)
        self.events.append(Event(len(self.events) + 1, line, self.now))
        self.trimmed(-1)
        assert self.has_reader or len(self.log) <= MAX_EVENTS

    @rule()
    def write_one(self) -> None:
        expected = None
        if self.written < len(self.events):
            expected = self.events[max(self.written, self.kept)]
            self.written = expected.number
        assert self.log.next_unwritten() == expected

    @rule(number=st.integers(-1, 30))
    def reader_comes(self, number: int) -> None:
        """A client comes, or comes back having seen ``number``."""
        self.has_reader = True
        self.log.rewind(number)
        self.written = max(self.kept, min(number, len(self.events)))

    @rule()
    def reader_leaves(self) -> None:
        self.has_reader = False

    @rule(age=st.integers(0, 5))
    def trim(self, age: int) -> None:
        self.log.trim(has_reader=self.has_reader, before=self.now - age)
        self.trimmed(self.now - age)

    @invariant()
    def agrees(self) -> None:
        kept = self.events[self.kept :]
        unwritten = [event for event in kept if event.number > self.written]
        assert len(self.log) == len(kept)
        assert (self.log.last, self.log.written) == (len(self.events), self.written)
        assert self.log.unwritten_bytes == sum(len(event.line) for event in unwritten)
        assert self.log.is_drained == (not unwritten)
        assert self.log.dropped == self.dropped


TestEventLog = EventLogMachine.TestCase


def log_of(count: int, *, has_reader: bool) -> EventLog:
    """Return a log with so many events of 10 bytes, one second apart."""
    log = EventLog(1, MAX_BYTES, MAX_EVENTS)
    for number in range(count):
        log.append(b"%010d" % number, float(number), has_reader=has_reader)
    return log


def read_all(log: EventLog) -> list[int]:
    """Return the numbers of all that is unwritten."""
    numbers = []
    while (event := log.next_unwritten()) is not None:
        numbers.append(event.number)
    return numbers


def test_nothing_unread_is_lost_while_a_reader_is_attached() -> None:
    """With a reader the source is held back, not the events dropped; read, they leave as the bounds say."""
    log = log_of(100, has_reader=True)
    assert (len(log), log.unwritten_bytes, log.dropped) == (100, 1000, 0)
    assert read_all(log) == list(range(1, 101))
    assert (len(log), log.unwritten_bytes, log.is_drained) == (100, 0, True)
    log.trim(has_reader=True)
    assert len(log) == 2


def test_without_a_reader_the_oldest_go_and_are_counted() -> None:
    """20 bytes hold two events of ten; the 98 others were never read."""
    log = log_of(100, has_reader=False)
    assert (len(log), log.unwritten_bytes, log.dropped) == (2, 20, 98)
    assert read_all(log) == [99, 100]


@pytest.mark.parametrize(
    ("after", "numbers"), [(0, [99, 100]), (98, [99, 100]), (99, [100]), (100, []), (1000, []), (-5, [99, 100])]
)
def test_rewind_goes_on_after_what_the_client_has_seen(after: int, numbers: list[int]) -> None:
    """What has been pushed out cannot come again; what is left comes in order, and each once."""
    log = log_of(100, has_reader=False)
    read_all(log)
    assert log.size == 20
    assert log.has_gap_after(after) == (after < 98)
    log.rewind(after)
    assert log.is_drained == (not numbers)
    assert read_all(log) == numbers
    assert log.unwritten_bytes == 0


def test_rewinding_a_log_that_aged_away_leaves_nothing_to_write() -> None:
    """A client that comes back after ``replay_age`` gets what comes from now on."""
    log = log_of(2, has_reader=True)
    read_all(log)
    log.trim(has_reader=False, before=100.0)
    log.rewind(0)
    assert (len(log), log.is_drained, log.next_unwritten()) == (0, True, None)
    log.append(b"new", 101.0, has_reader=True)
    assert read_all(log) == [3]


def test_event_ids_are_read_as_they_are_written() -> None:
    """``stream-number``."""
    log = EventLog(12, 1, 1)
    assert log.event_id(0) == b"12-0"
    assert parse_event_id(log.event_id(345).decode()) == (12, 345)


@pytest.mark.parametrize(
    "value", ["", "-", "1", "1-", "-1", "a-1", "1-a", "1--1", "+1-1", "1-1 ", "١-1", "1-²", "1_0-1", "1-" + "1" * 5000]
)
def test_foreign_event_ids_are_none(value: str) -> None:
    """A client may send anything."""
    assert parse_event_id(value) is None


def test_logs_count_together_what_they_keep() -> None:
    """``Kept`` is the sum of its logs' sizes whatever happens to them: appended, pushed out, cleared."""
    kept = Kept()
    logs = [EventLog(number, 100, 10, kept) for number in range(3)]
    for round_ in range(50):
        for number, log in enumerate(logs):
            log.append(b"x" * (7 * number + round_ % 5), 0.0, has_reader=False)
        assert kept.bytes == sum(log.size for log in logs)
    logs[1].clear()
    assert (len(logs[1]), logs[1].size, logs[1].is_drained) == (0, 0, True)
    assert kept.bytes == logs[0].size + logs[2].size > 0
