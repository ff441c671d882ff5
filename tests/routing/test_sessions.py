"""Sessions: a cap that holds from the first request on, and ids that name only what is initialized."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from relay.mcp.headers import is_session_id
from relay.routing.sessions import Places, Sessions, new_session_id


@dataclass(eq=False)
class Guest:
    """A session that says what the test says."""

    id: str
    owner: str = "somebody"
    used: float | None = 0.0

    def idle_since(self) -> float | None:
        return self.used


def test_a_session_is_found_once_it_is_published() -> None:
    """Between ``add`` and a successful ``initialize`` it has a place and no name."""
    sessions: Sessions[Guest] = Sessions(Places(2))
    guest = Guest("a")
    sessions.add(guest)
    assert (len(sessions), sessions.find("a")) == (1, None)
    sessions.publish(guest)
    assert sessions.find("a") is guest
    sessions.remove(guest)
    sessions.remove(guest)
    assert (len(sessions), sessions.find("a")) == (0, None)


def test_a_session_that_has_gone_is_not_published() -> None:
    """Its initialize may succeed after the client has left."""
    sessions: Sessions[Guest] = Sessions(Places(2))
    guest = Guest("a")
    sessions.add(guest)
    sessions.remove(guest)
    sessions.publish(guest)
    assert sessions.find("a") is None


def test_the_cap_counts_every_place() -> None:
    """At the limit it is full, one below it is not."""
    places = Places(2)
    sessions: Sessions[Guest] = Sessions(places)
    guests = [Guest("a"), Guest("b")]
    fullness = []
    for guest in guests:
        fullness.append(places.is_full)
        sessions.add(guest)
        sessions.add(guest)
    assert [*fullness, places.is_full] == [False, False, True]
    sessions.remove(guests[0])
    sessions.remove(guests[0])
    assert (places.is_full, places.taken) == (False, 1)


def test_several_tables_may_have_their_places_in_common() -> None:
    """A session of one takes a place from the other, and is found in its own only."""
    places = Places(1)
    mine: Sessions[Guest] = Sessions(places)
    others: Sessions[Guest] = Sessions(places)
    guest = Guest("a")
    mine.add(guest)
    mine.publish(guest)
    assert (places.is_full, len(others), others.find("a")) == (True, 0, None)
    others.remove(guest)
    assert places.is_full
    mine.remove(guest)
    assert not places.is_full


def test_sessions_may_end_while_one_looks() -> None:
    """Iteration goes over a copy."""
    sessions: Sessions[Guest] = Sessions(Places(9))
    for name in "abc":
        sessions.add(Guest(name))
    for guest in sessions:
        sessions.remove(guest)
    assert len(sessions) == 0


@pytest.mark.parametrize(("used", "expires"), [(None, False), (100.0, False), (70.1, False), (70.0, True), (0.0, True)])
def test_expired_after_the_idle_time(used: float | None, expires: bool) -> None:
    """At exactly ``max_idle`` seconds; never while in use."""
    sessions: Sessions[Guest] = Sessions(Places(9))
    guest = Guest("a", used=used)
    sessions.add(guest)
    assert sessions.expired(100.0, 30.0) == ([guest] if expires else [])


def test_session_ids_cannot_be_guessed() -> None:
    """256 bits in 43 visible ASCII characters, never the same twice."""
    ids = {new_session_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(session_id) == 43 and is_session_id(session_id) for session_id in ids)
