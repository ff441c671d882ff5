"""Every size, watermark and deadline of the relay, each with its reason.

Sizes are in bytes and times in seconds. A caller changes one with ``Limits(stall=5)`` or ``dataclasses.replace``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

__all__ = ["DEFAULT_LIMITS", "Limits"]

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds on what one relay holds and waits for."""

    # Sizes of what peers send.
    max_frame_bytes: int = 64 * MIB
    """One JSON-RPC frame, in either direction. It leaves room for base64 images, and stops a line that never ends."""
    max_json_nodes: int = 2_000_000
    """Arrays and objects in one frame that the relay must parse; else 16 MiB of ``{},`` would block the loop."""
    max_json_values: int = 4_000_000
    """Commas outside strings in such a frame, which count its values; no frame below 4 MB has more."""
    max_batch: int = 100
    """Messages in one JSON-RPC batch (2025-03-26), each of which may open an exchange."""
    max_error_body: int = 64 * KIB
    """The part of an upstream's error page that the relay reads: enough for any JSON-RPC error."""
    error_body_wait: float = 5.0
    """The time for that page, which only explains a status that is already known."""

    # Flow control.
    buffer_high: int = 256 * KIB
    """Waiting bytes in one direction above which the relay pauses the source; one frame may exceed it."""
    buffer_low: int = 64 * KIB
    """Waiting bytes below which a paused source resumes; less than ``buffer_high``, so that it does not flutter."""
    stall: float = 30.0
    """How long a client may leave its stream unread before the relay closes that connection."""

    # Ends.
    linger: float = 5.0
    """How long one direction may continue for late answers after the other has finished."""
    drain: float = 20.0
    """How long SIGTERM waits for answers in flight; less than the 90 s after which systemd kills the relay."""
    drain_delay: float = 0.0
    """How long ``/health`` answers 503 before the drain, while the relay serves everything, for load balancers."""
    close_grace: float = 2.0
    """How long a close may take to flush and shake hands, and each step to stop a child."""

    stray_grace: float = 2.0
    """How long the only open request waits for its own answer after a stray one, before it gets an error instead."""

    # The HTTP listener.
    answer_wait: float = 0.1
    """How long a POST waits for a plain JSON answer before it becomes an SSE stream."""
    keep_alive: float = 15.0
    """The time between two comments on an idle SSE stream; middleboxes forget it after 30-60 s."""
    sse_retry: float = 1.0
    """The ``retry`` time that a client waits before it reconnects to a stream."""
    cancel_grace: float = 5.0
    """How long a cancelled request may get the server's answer, which is optional, before the relay sends an error."""
    abandoned_memory: float = 60.0
    """How long an unanswered call that its client has left still counts as open: of the clients that share the server,
    none gets a message that could belong to it."""
    find_out: float = 5.0
    """How long a server may take to answer the relay's own question, before a request goes on unchecked."""
    header_deadline: float = 30.0
    """How long a connection may take for its first request, and for the headers of each request (slow loris)."""
    max_head_bytes: int = 32 * KIB
    """The request line and headers of one HTTP request; bearer tokens of 10 kB are common."""
    idle_connection: float = 75.0
    """How long a connection may be idle between two requests: more than the 60 s of load balancers, which else send a
    request while the relay closes the connection."""
    body_deadline: float = 30.0
    """How long a request body may take, plus 1 s for each 64 KiB in a session, or for each 2 MiB before one."""
    max_stranger_bytes: int = MIB
    """A body before any session, which can only be an ``initialize``; also the largest that counts as small."""
    arrival_bytes: int = 8 * MIB
    """Memory for all bodies that arrive from clients without a session: once for small ones, once for large ones. One
    body may exceed it."""
    arrival_turn: float = 0.1
    """How long such a body may stall before others continue in its place."""
    arrival_patience: float = 2.0
    """How long it may stall while others wait for its room, as with a phone or a lost packet. A body that holds more
    than ``arrival_bytes`` may stall only for ``arrival_turn``, and so may every body while all hold twice as much."""
    max_connections: int = 8192
    """Open HTTP connections; one more gets 503. In HTTP/1.1 every call in flight has its own connection."""
    max_sessions: int = 1024
    """Sessions at one time, each with a child of its own by default."""
    max_sessions_each: int = 128
    """Sessions of one principal at one time, if clients log in: one client cannot take all places."""
    max_in_flight: int = 256
    """Requests waiting for an answer in one session."""
    max_shared_in_flight: int = 16_384
    """The same for all clients that share one server."""
    max_open_bytes: int = 8 * MIB
    """Memory for the ids of open requests on a TCP, Unix or WebSocket connection: 65,536 numbers."""
    session_idle: float = 1800.0
    """How long a session may have no request and no open stream before the relay closes it."""
    shared_idle: float | None = None
    """How long a shared server stays after its last client has left, which may only be restarting. None means 10, and
    ``session_idle`` since the last request for clients without sessions, whose leaving is not visible."""
    handshake: float = 30.0
    """How long a session may take from its first byte to a successful ``initialize``."""
    replay_bytes: int = 4 * MIB
    """Memory of one session for clients that reconnect with ``Last-Event-ID``."""
    replay_events: int = 1000
    """The same in events, because small events cost more than their bytes."""
    replay_age: float = 300.0
    """How long a session keeps an event for replay."""

    # The HTTP client.
    connect: float = 10.0
    """How long the relay tries to open a TCP or TLS connection."""
    endpoint_wait: float = 10.0
    """How long an HTTP+SSE server may take to send its ``endpoint`` event."""
    doubt: float = 30.0
    """How long a call may be silent after its stream was resumed or its session lost, before the relay asks the server
    about the session. The server's answer may take as long again."""
    max_login_frames: int = 1024
    """Frames that may wait while the relay logs in to their server, which may need a person. One more gets an error."""
    max_login_bytes: int = 16 * MIB
    """The same in bytes."""
    reconnect_min: float = 0.2
    """The first wait before the relay opens a lost stream again; it doubles each time, with jitter."""
    reconnect_max: float = 30.0
    """The longest wait before the relay opens a lost stream again."""

    def for_many_clients(self) -> Limits:
        """Return the limits of a connection that many clients share, with more requests in flight."""
        return dataclasses.replace(self, max_in_flight=self.max_shared_in_flight)


DEFAULT_LIMITS = Limits()
