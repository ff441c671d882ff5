"""The decisions of the gate (gate.py), as values that the ways in carry out.

``Refused`` is also an exception: the ordinary way raises it, and the listener answers with it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from relay.endpoints.base import ANONYMOUS
from relay.frames import replies
from relay.frames.faults import message_fault
from relay.frames.frame import Frame
from relay.frames.head import Head
from relay.mcp.facts import RequestFacts

if TYPE_CHECKING:
    from relay.auth.inbound.verdicts import Pending

__all__ = [
    "ANONYMOUS",
    "Accept",
    "Admission",
    "AnswerWanted",
    "BodyWanted",
    "Decision",
    "HandOn",
    "Purpose",
    "Refused",
    "RoomWanted",
    "SessionWanted",
    "VerificationWanted",
    "not_a_message",
    "too_large",
]


class Purpose(enum.StrEnum):  # a key of tables: the hash of a string is C, that of an Enum is not
    """The purpose of a request, by its method, its path and the server at that path."""

    HEALTH = "health"
    PREFLIGHT = "preflight"
    METADATA = "metadata"
    """Where clients get tokens for a server here (RFC 9728)."""
    REPORT = "report"
    NOTHING = "nothing"
    """No server is offered at its path."""
    POST = "post"
    """A frame that begins a session, or has none."""
    POST_IN_SESSION = "post in session"
    POST_THROUGH = "post through"
    """A frame for a server that speaks Streamable HTTP itself."""
    OTHER_THROUGH = "other through"
    """A GET or DELETE for such a server."""
    STREAM = "stream"
    DELETE = "delete"
    UPGRADE = "upgrade"
    SSE = "sse"
    MESSAGE = "message"
    PROXY = "proxy"
    """A page's call of a server that the call names."""
    PROXY_SOCKET = "proxy socket"
    """A page's WebSocket to a server that its address names."""
    BANNER = "banner"
    """The name and the version of a gateway."""


class Admission(msgspec.Struct, frozen=True, gc=False):
    """Who was admitted, and for how long a connection may remember it."""

    principal: str
    until: float | None
    """When the principal's proof expires, in seconds by the loop's clock; None for never."""
    generation: int
    """The generation of the listener's rules; a later generation must decide anew."""


class Accept(msgspec.Struct, gc=False):
    """Take the request; its purpose says how."""

    purpose: Purpose
    admission: Admission | None
    session: Any = None
    """The session that the frame, or the stream, is of; None if it needs none."""
    frame: Frame | None = None
    facts: RequestFacts | None = None
    """What a request of 2026-07-28 says of itself."""
    takes_stream: bool = True
    """Whether the answer may be an event stream."""
    resumed: tuple[Any, int] | None = None
    """The stream that a GET resumes, and the number of the event after which it goes on."""


class HandOn(msgspec.Struct, gc=False):
    """Forward the request as it came to the server that answers for itself."""

    admission: Admission
    frame: Frame | None
    """The frame of a POST; None for a GET or a DELETE."""
    takes_stream: bool


class BodyWanted(msgspec.Struct, gc=False):
    """Read the body: the head has passed every check that needs no body."""

    most: int
    """Bytes that the body may have."""
    room: Literal["session", "strangers", "server"]
    """Which room it shares with other bodies while it arrives."""
    is_small: bool
    """Whether its announced size is small, so that it need not wait until the server reads."""


class SessionWanted(msgspec.Struct, gc=False):
    """Begin the session that the frame opens, then ask the gate again."""

    begins: Literal["session", "modern", "one"]
    """A session of the legacy era, the endpoint of all clients of 2026-07-28, or one for this request alone."""
    frame: Frame
    owner: str = ANONYMOUS
    """The principal to which it belongs."""
    version: str | None = None
    """The version that a server must be greeted with first; for ``one`` of the legacy era."""


class AnswerWanted(msgspec.Struct, gc=False):
    """Ask the server for the facts that the check needs, then ask the gate again."""

    session: Any
    method: str | None
    facts: RequestFacts


class VerificationWanted(msgspec.Struct, gc=False):
    """Ask the authorization server about the client's token, put the verdict on the walk, then ask the gate again."""

    pending: Pending


class RoomWanted(msgspec.Struct, gc=False):
    """Wait until the server of the session reads more, then ask the gate again."""

    session: Any
    frame: Frame


class Refused(Exception):
    """A request that is answered with a 4xx or 5xx status and a JSON-RPC error."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: int = replies.REFUSED,
        request_id: str | int | None = None,
        headers: Mapping[str, str] | None = None,
        data: Mapping[str, object] | None = None,
    ) -> None:
        """Say ``message`` to the client, with ``data``, for the request with this id if one is known."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.request_id = request_id
        self.headers = dict(headers or {})
        self.data: dict[str, Any] = dict(data or {})
        self.is_of_frame = False
        """Whether the body was refused as a frame: it may have been an answer for which a server waits."""
        self.is_failed_login = False
        """Whether it counts as a failed login of the client's address."""
        self.frame: Frame | None = None
        """What was refused, if it is large and was read."""


def too_large(fault: str, *, request_id: str | int | None = None, headers: Mapping[str, str] | None = None) -> Refused:
    """Return the refusal of a body that is too large, in bytes or in what it holds."""
    return Refused(413, fault, code=replies.TOO_LARGE, request_id=request_id, headers=headers)


def not_a_message(invalid: Head) -> Refused:
    """Return the refusal of a body that is INVALID."""
    fault, request_id = message_fault(invalid.fault), invalid.id
    if invalid.is_excessive:
        return too_large(fault, request_id=request_id)
    return Refused(400, fault, code=replies.code_of(invalid), request_id=request_id)


Decision: TypeAlias = (
    Accept | HandOn | BodyWanted | SessionWanted | AnswerWanted | RoomWanted | VerificationWanted | Refused
)
