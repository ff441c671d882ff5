"""The life of each request as the subscribers of a hub hear it: its method, its times, and how it ended."""

from __future__ import annotations

from time import monotonic
from typing import Protocol

from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import RequestId
from relay.routing.open_table import Ending

__all__ = ["HearsRequests", "LivesOf", "Request"]


class Request:
    """One request of a client, from its opening to its end."""

    __slots__ = ("answer", "client", "ending", "fault", "method", "opened_at")

    def __init__(self, client: str, method: str | None, opened_at: float | None) -> None:
        """Begin a life."""
        self.client = client
        """The name of the client's endpoint."""
        self.method = method
        """None if the request was opened before anybody subscribed, or as a repetition under an open id."""
        self.opened_at = opened_at
        """By the monotonic clock; None if the request was opened before anybody subscribed."""
        self.ending: Ending | None = None
        """How the request ended; None while it is open. An answer that the relay made is a failure."""
        self.answer: Frame | None = None
        """The frame that answered the request; None without one, or if the relay did not take the frame apart."""
        self.fault: replies.Fault | None = None
        """Why the relay answered in place of the server; None if the server itself did."""


class HearsRequests(Protocol):
    """Hears the life of each request of a hub's clients."""

    def request_opened(self, request: Request) -> None:
        """Called once a request waits for its answer."""

    def request_cancelled(self, request: Request) -> None:
        """Called once the client has cancelled a request that may still get its answer."""

    def request_ended(self, request: Request) -> None:
        """Called once a request is no longer open."""


class LivesOf:
    """The open requests of one client: the subscriber of its table, while a hub has subscribers for them."""

    __slots__ = ("_client", "_hub", "_open")

    def __init__(self, client: str, hub: HearsRequests) -> None:
        """Tell ``hub`` of the requests of ``client``."""
        self._client = client
        self._hub = hub
        self._open: dict[RequestId, Request] = {}

    def opened(self, request_id: RequestId, method: str | None) -> None:
        """Begin a life."""
        request = self._open[request_id] = Request(self._client, method, monotonic())
        self._hub.request_opened(request)

    def cancelled(self, request_id: RequestId) -> None:
        """Tell of a cancellation after which an answer may still come."""
        if request_id not in self._open:
            self._open[request_id] = self._earlier()
        self._hub.request_cancelled(self._open[request_id])

    def ended(self, request_id: RequestId, ending: Ending, answer: Frame | None) -> None:
        """End a life."""
        request = self._open.pop(request_id, None) or self._earlier()
        request.answer = answer
        request.fault = replies.fault_of(answer) if answer is not None else None
        request.ending = _ending(ending, request.fault)
        self._hub.request_ended(request)

    def _earlier(self) -> Request:
        """Return the life of a request that was open before anybody subscribed."""
        return Request(self._client, None, None)


def _ending(ending: Ending, fault: replies.Fault | None) -> Ending:
    if fault is None:
        return ending
    return "cancelled" if fault.code == replies.CANCELLED else "failed"
