"""One place that hears what happens between clients and one server, whichever way it takes.

Frames, pipes and the life of requests reach the subscribers of a hub. A pipe tells the hub that it is given, tables of
open requests tell it what becomes of a request, and requests that need no pipe tell it their frames themselves. Nobody
else is instrumented: what wants to know subscribes, at any time, and hears everything from then on. While nobody has
subscribed to frames or to requests, each costs one ``is None``.

The hub also reads the counters of its clients: how many requests are in flight, and when a client last did something.
The clients keep both in any case, so the counters cost nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, MutableSet, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from relay.errors import RelayError
from relay.frames.frame import Frame

if TYPE_CHECKING:
    from relay.frames.replies import Fault
    from relay.observe.requests import HearsRequests, Request
    from relay.routing.open_table import OpenTable

__all__ = ["Client", "Clients", "FramesHeard", "HearsPipes", "Hub", "Named", "Peer"]

logger = logging.getLogger("relay")


class Named(Protocol):
    """The source or the sink of frames; an endpoint is one."""

    @property
    def name(self) -> str:
        """The name in logs."""


class Peer(NamedTuple):
    """The source or the sink of frames if it has no endpoint, because its requests are forwarded without a pipe."""

    name: str


class Client(Named, Protocol):
    """A client of the server, or several clients whose requests are in one table."""

    @property
    def ledger(self) -> OpenTable[Any]:
        """The client's open requests."""

    @property
    def last_used(self) -> float:
        """When the client last did something, in seconds by the loop's clock; 0 if never."""


FramesHeard: TypeAlias = Callable[[Named, Named, Sequence[Frame]], None]
"""Called with a source, a sink, and frames that go from one to the other, before anything can come back for them."""


class HearsPipes(Protocol):
    """Hears of each pipe, which carries one session."""

    def pipe_started(self, a: Named, b: Named) -> None:
        """Called before the pipe receives any frame."""

    def side_finished(self, side: Named, reason: RelayError | None) -> None:
        """Called once for each side, when no more frames come from it."""

    def pipe_ended(self, a: Named, b: Named, report: Any) -> None:
        """Called with the pipe's ``PipeReport`` when both sides are closed."""


@dataclass(frozen=True, slots=True, eq=False)
class _Subscription:
    name: str
    frames: FramesHeard | None
    pipes: HearsPipes | None
    requests: HearsRequests | None


class Hub:
    """What is known of the traffic with one server."""

    __slots__ = ("_groups", "_subscriptions", "fault", "frames", "touched")

    def __init__(self) -> None:
        """Know of nothing; nobody has subscribed."""
        self.frames: FramesHeard | None = None
        """Tells the subscribers of frames; None while there are none."""
        self.fault: str | None = None
        """Why the last request had no answer from the server; None if it had one."""
        self.touched = 0.0
        """When the server was last used by something other than the present clients, by the loop's clock."""
        self._subscriptions: tuple[_Subscription, ...] = ()
        self._groups: tuple[Clients[Any], ...] = ()

    # Subscribers.

    def subscribe(
        self,
        name: str,
        *,
        frames: FramesHeard | None = None,
        pipes: HearsPipes | None = None,
        requests: HearsRequests | None = None,
    ) -> Callable[[], None]:
        """Tell one more subscriber of the given events from now on; return a function that ends the subscription.

        A subscriber must not wait. If it raises, the relay logs the exception with ``name`` and calls it no more.
        """
        subscription = _Subscription(name, frames, pipes, requests)
        self._renew((*self._subscriptions, subscription))
        return lambda: self._end(subscription)

    def _end(self, subscription: _Subscription) -> None:
        self._renew(tuple(one for one in self._subscriptions if one is not subscription))

    def _renew(self, subscriptions: tuple[_Subscription, ...]) -> None:
        self._subscriptions = subscriptions
        self.frames = self._tell_frames if any(one.frames is not None for one in subscriptions) else None
        for group in self._groups:
            for client in group:
                self.attach(client)

    def _fail(self, subscription: _Subscription) -> None:
        logger.exception("%s failed; the relay no longer calls it", subscription.name)
        self._end(subscription)

    def _tell_frames(self, source: Named, sink: Named, frames: Sequence[Frame]) -> None:
        for one in self._subscriptions:
            if one.frames is not None:
                try:
                    one.frames(source, sink, frames)
                except Exception:  # a subscriber must break neither the traffic nor the other subscribers
                    self._fail(one)

    def _tell(self, subscription: _Subscription, told: Callable[..., None], *what: object) -> None:
        try:
            told(*what)
        except Exception:  # as above
            self._fail(subscription)

    # Pipes.

    def pipe_started(self, a: Named, b: Named) -> None:
        """Tell that a pipe has started."""
        for one in self._subscriptions:
            if one.pipes is not None:
                self._tell(one, one.pipes.pipe_started, a, b)

    def side_finished(self, side: Named, reason: RelayError | None) -> None:
        """Tell that no more frames come from one side of a pipe."""
        for one in self._subscriptions:
            if one.pipes is not None:
                self._tell(one, one.pipes.side_finished, side, reason)

    def pipe_ended(self, a: Named, b: Named, report: object) -> None:
        """Tell that a pipe has ended."""
        for one in self._subscriptions:
            if one.pipes is not None:
                self._tell(one, one.pipes.pipe_ended, a, b, report)

    # Requests.

    def attach(self, client: Client) -> None:
        """Hear the requests of ``client`` if somebody wants to."""
        if not any(one.requests is not None for one in self._subscriptions):
            client.ledger.subscriber = None
        elif client.ledger.subscriber is None:
            from relay.observe.requests import LivesOf

            client.ledger.subscriber = LivesOf(client.name, self)

    def request_opened(self, request: Request) -> None:
        """Tell that a request waits for its answer."""
        for one in self._subscriptions:
            if one.requests is not None:
                self._tell(one, one.requests.request_opened, request)

    def request_cancelled(self, request: Request) -> None:
        """Tell that a client has cancelled a request that may still get its answer."""
        for one in self._subscriptions:
            if one.requests is not None:
                self._tell(one, one.requests.request_cancelled, request)

    def request_ended(self, request: Request) -> None:
        """Tell that a request is no longer open."""
        for one in self._subscriptions:
            if one.requests is not None:
                self._tell(one, one.requests.request_ended, request)

    def note_fault(self, fault: Fault | None) -> None:
        """Note whether the server failed, by what the answer to a request says of it (``replies.fault_of``)."""
        self.fault = fault.message if fault is not None and fault.is_failure else None

    # Counters.

    def add_group(self, group: Clients[Any]) -> None:
        """Count the clients of one more listener."""
        self._groups = (*self._groups, group)
        for client in group:
            self.attach(client)

    @property
    def in_flight(self) -> int:
        """The number of requests that wait for an answer, without subscriptions, from all clients."""
        return sum(group.in_flight for group in self._groups)

    @property
    def last_used(self) -> float:
        """When a client last used the server, by the loop's clock; 0 if none did. Clients that have left count."""
        self.touched = max(self.touched, *(group.last_used for group in self._groups), 0.0)
        return self.touched


C = TypeVar("C", bound=Client)


class Clients(Generic[C]):
    """The clients of one listener at one server."""

    def __init__(self, hub: Hub, members: MutableSet[C]) -> None:
        """Keep the clients in ``members``, which may hold them weakly."""
        self._hub = hub
        self._members = members
        hub.add_group(self)

    def __iter__(self) -> Iterator[C]:
        """Iterate over a copy, because clients may come and leave during the iteration."""
        return iter(list(self._members))

    def add(self, client: C) -> None:
        """Count one more client."""
        self._members.add(client)
        self._hub.attach(client)

    def discard(self, client: C) -> None:
        """Forget a client that has left, but not when it was last there."""
        self._hub.touched = max(self._hub.touched, client.last_used)
        self._members.discard(client)

    @property
    def in_flight(self) -> int:
        """The number of these clients' requests that wait for an answer, without subscriptions."""
        return sum(client.ledger.calls for client in self._members)

    @property
    def last_used(self) -> float:
        """When one of these clients last did something, by the loop's clock; 0 if none did."""
        return max((client.last_used for client in self._members), default=0.0)
