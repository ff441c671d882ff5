"""Every size, watermark and deadline of the relay, in one place, each with its reason.

Sizes are bytes, times are seconds. A caller changes one with ``Limits(stall=5)`` or ``dataclasses.replace``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

__all__ = ["DEFAULT_LIMITS", "Limits"]

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one relay will hold, wait for and put up with."""

    # Sizes of what peers may send.
    max_frame_bytes: int = 64 * MIB
    """One JSON-RPC frame, in any direction: room for base64 images; a peer that never ends a line stops here."""
    max_json_nodes: int = 2_000_000
    """Arrays and objects in one frame that must be parsed: 16 MiB of ``{},`` would hold the loop otherwise."""
    max_json_values: int = 4_000_000
    """Commas in such a frame, outside of its strings: as many values, and no frame of less than 4 MB has more."""
    max_batch: int = 100
    """Messages in one JSON-RPC batch (2025-03-26): each may open an exchange."""
    max_error_body: int = 64 * KIB
    """What is read of an upstream's error page: enough for any JSON-RPC error, too little to hurt."""
    error_body_wait: float = 5.0
    """How long it may take to come: it is only the words to a status that is known."""

    # Flow control.
    buffer_high: int = 256 * KIB
    """Bytes waiting in one direction at which the source is paused; one frame may exceed it."""
    buffer_low: int = 64 * KIB
    """Bytes waiting at which a paused source goes on; below high so that it does not flutter."""
    stall: float = 30.0
    """How long a client may leave its stream unread before it loses that connection."""

    # Ends.
    linger: float = 5.0
    """How long the other direction may go on once one has finished: late answers, not for ever."""
    drain: float = 20.0
    """How long SIGTERM waits for answers in flight; below the 90 s after which systemd kills."""
    drain_delay: float = 0.0
    """How long ``/health`` says 503 before that while all is served: until a load balancer has seen it."""
    close_grace: float = 2.0
    """How long a close may take to flush or to say goodbye, and each step of a child's stop ladder."""

    stray_grace: float = 2.0
    """How long the only open request may have no answer after one that fits nobody, before it gets that as an error."""

    # The HTTP listener.
    answer_wait: float = 0.1
    """How long a POST waits for a plain JSON answer before it becomes an SSE stream."""
    keep_alive: float = 15.0
    """Between two comments on an idle SSE stream: below the 30-60 s after which middleboxes forget it."""
    sse_retry: float = 1.0
    """What a client is told to wait before it reconnects to a stream."""
    cancel_grace: float = 5.0
    """How long a cancelled request may still get its own answer before we give it one (the server need not)."""
    abandoned_memory: float = 60.0
    """How long a call that nobody waits for any more, and its server has not answered, may still be spoken of: of
    clients that share the server, nobody gets what could be of it."""
    find_out: float = 5.0
    """How long a server may take to say what the relay asks of its own accord before a request goes on unchecked."""
    header_deadline: float = 30.0
    """How long a connection may take to send its first request, and each request's headers (slow loris)."""
    max_head_bytes: int = 32 * KIB
    """The request line and headers of one HTTP request: bearers of 10 kB are common."""
    idle_connection: float = 75.0
    """How long a connection may be idle between two requests: above the 60 s for which load balancers keep one, who
    would send a request into our close."""
    body_deadline: float = 30.0
    """How long a request body may take: in a session plus one second for each 64 KiB, before one for each 2 MiB."""
    max_stranger_bytes: int = MIB
    """A body before any session, which can only be an ``initialize``; and what counts as small where more may come."""
    arrival_bytes: int = 8 * MIB
    """What all bodies that nobody has vouched for may hold while they arrive: the small ones, and the large ones. One
    of these may go beyond it."""
    arrival_turn: float = 0.1
    """How long such a body may stand still before others go on in its place."""
    arrival_patience: float = 2.0
    """How long it may stand still while others wait for its room, which a phone or a lost packet does; one that holds
    more than ``arrival_bytes`` no longer than ``arrival_turn``, nor anyone while as much again is held."""
    max_connections: int = 8192
    """Open HTTP connections; one more is answered 503. In HTTP/1.1 every call in flight has one of its own."""
    max_sessions: int = 1024
    """Sessions at one time, each with a child of its own by default."""
    max_in_flight: int = 256
    """Requests waiting for an answer in one session."""
    max_shared_in_flight: int = 16_384
    """The same for all clients that share one server."""
    max_open_bytes: int = 8 * MIB
    """What the ids of unanswered requests may hold on a TCP, Unix or WebSocket connection: 65,536 numbers."""
    session_idle: float = 1800.0
    """A session without a request or an open stream for so long is closed."""
    shared_idle: float | None = None
    """How long a server that clients share is kept once the last has left: it may only be starting again. None: 10; and
    ``session_idle`` after the last request of clients that have no session, who leave without a word."""
    handshake: float = 30.0
    """How long a session may take from its first byte to a successful ``initialize``."""
    replay_bytes: int = 4 * MIB
    """What one session keeps for clients that come back with ``Last-Event-ID``."""
    replay_events: int = 1000
    """The same, counted in events: small ones cost more than their bytes."""
    replay_age: float = 300.0
    """How long an event is kept for replay."""

    # The HTTP client.
    connect: float = 10.0
    """How long a TCP or TLS connection may take to be made."""
    endpoint_wait: float = 10.0
    """How long an HTTP+SSE server may take to send its ``endpoint`` event."""
    doubt: float = 30.0
    """How long a call may be silent whose stream was resumed, or whose session is lost, before the server is asked
    whether it still knows the session; its answer may take as long again."""
    reconnect_min: float = 0.2
    """The first wait before a lost stream is opened again; doubled each time, with jitter."""
    reconnect_max: float = 30.0
    """The longest such wait."""

    def for_many_clients(self) -> Limits:
        """Return the limits of a connection that many clients share: more of their requests may be open at once."""
        return dataclasses.replace(self, max_in_flight=self.max_shared_in_flight)


DEFAULT_LIMITS = Limits()
