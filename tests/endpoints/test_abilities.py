"""Each endpoint class declares its optional abilities."""

from __future__ import annotations

import pytest

from relay.app.run.child_target import ChildTarget
from relay.app.run.targets import AddressTarget, KeepsSpare
from relay.app.run.wiring import connect
from relay.endpoints.base import CountsUse, Endpoint, HasStream, HasTrail, OffersFrames, SendsAtOnce, SpeaksTransport
from relay.endpoints.child.child import Child
from relay.endpoints.combined.failover import Failover
from relay.endpoints.core.lazy import Lazy
from relay.endpoints.core.memory import MemoryEndpoint, memory_pair
from relay.endpoints.http.client.remote import Remote
from relay.endpoints.http.server.modern import ModernClients
from relay.endpoints.http.server.session import HttpSession
from relay.endpoints.http.server.sse_session import SseSession
from relay.endpoints.socket.tcp import SocketEndpoint
from relay.endpoints.stdio.own_stdio import OwnStdio
from relay.endpoints.websocket.websocket import WebSocketEndpoint
from relay.frames.frame import Frame
from relay.limits import Limits


def members_of(kind: type) -> set[str]:
    """Return what a class defines, and what its ``__init__`` sets."""
    return {name for one in kind.__mro__ for name in vars(one)} | set(kind.__init__.__code__.co_names)  # type: ignore[misc]


@pytest.mark.parametrize("kind", [Child, HttpSession, Lazy, MemoryEndpoint, OwnStdio, Remote])
def test_sources_that_can_hand_frames_on_in_their_callback(kind: type[Endpoint]) -> None:
    """A pipe asks its source for this."""
    assert issubclass(kind, OffersFrames)


@pytest.mark.parametrize("kind", [HttpSession, MemoryEndpoint, ModernClients, OwnStdio])
def test_sinks_that_can_send_without_a_turn_of_the_loop(kind: type[Endpoint]) -> None:
    """A pipe asks its sink for this."""
    assert issubclass(kind, SendsAtOnce)


async def test_what_stands_for_another_endpoint_sends_as_that_does() -> None:
    """Its ability is the other's: an attribute of the object, not of its class."""
    near, far = memory_pair()

    async def make() -> Endpoint:
        return near

    lazy = Lazy("lazy", make)
    frames = [Frame(b'{"jsonrpc":"2.0","method":"x"}')]
    assert isinstance(lazy, SendsAtOnce) and not lazy.send_at_once(frames), "it is not made yet"
    await lazy.open()
    assert isinstance(lazy, SendsAtOnce) and lazy.send_at_once(frames)
    assert await far.receive() == frames
    await lazy.aclose()
    await far.aclose()


def test_a_pool_s_session_has_neither() -> None:
    """Its frames wait for a server."""
    assert not issubclass(Failover, OffersFrames | SendsAtOnce)


async def test_what_is_known_of_clients_over_http() -> None:
    """Sessions of both transports, and the clients of 2026-07-28: their use, their stream and their trail."""
    limits = Limits()
    session = HttpSession(limits, lambda _: None, lambda _: None)
    sse, modern = SseSession(limits, lambda _: None), ModernClients(limits, lambda _: None)
    try:
        for ability in (CountsUse, HasStream, HasTrail):
            assert all(isinstance(one, ability) for one in (session, sse, modern))
            assert not any(isinstance(one, ability) for one in memory_pair())
        assert not modern.is_listening
    finally:
        for one in (session, sse, modern):
            await one.aclose()


@pytest.mark.parametrize("kind", [OwnStdio, SocketEndpoint, WebSocketEndpoint])
def test_what_is_known_of_clients_on_connections(kind: type[Endpoint]) -> None:
    """Their use; there is no stream that they may leave closed."""
    assert {"ledger", "last_used"} <= members_of(kind)
    assert "is_listening" not in members_of(kind)


def test_targets_that_start_early() -> None:
    """A command can be started before anybody comes; an address cannot."""
    assert issubclass(ChildTarget, KeepsSpare)
    assert not issubclass(AddressTarget, KeepsSpare)


async def test_a_url_says_what_it_speaks() -> None:
    """``mcp-relay test`` shows it."""
    dialled = connect("http://127.0.0.1:9/mcp")
    assert isinstance(dialled, Lazy)
    opened = await dialled.open()
    assert isinstance(opened, SpeaksTransport) and opened.transport == "auto"
    await opened.aclose()
    assert not any(isinstance(one, SpeaksTransport) for one in memory_pair())
