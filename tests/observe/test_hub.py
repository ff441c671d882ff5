"""What passes between clients and a server is heard in one place."""

from __future__ import annotations

from collections.abc import Sequence

from relay.frames.frame import Frame
from relay.observe.hub import Hub

FRAMES = (Frame(b"1"), Frame(b"2"))


def test_each_subscriber_hears_each_frame_once_and_in_turn() -> None:
    """While there is none, nothing is there to be called."""
    hub = Hub()
    assert hub.frames is None
    heard: list[tuple[str, str, str, Sequence[Frame]]] = []
    for name in "abc":
        hub.subscribe(lambda source, sink, frames, name=name: heard.append((name, source, sink, frames)))  # type: ignore[misc]
    assert hub.frames is not None
    hub.frames("client", "server", FRAMES)
    assert heard == [(name, "client", "server", FRAMES) for name in "abc"]


def test_requests_count_until_they_are_settled() -> None:
    """And the last one says when the server was used."""
    hub = Hub()
    hub.opened(1.0)
    hub.opened(2.0, 3)
    hub.settled()
    assert (hub.in_flight, hub.last_used) == (3, 2.0)
    hub.settled(3)
    assert (hub.in_flight, hub.last_used) == (0, 2.0)
