"""What the relay reads of a JSON-RPC message: its kind, id, method and progress token."""

from __future__ import annotations

import enum
from typing import Final, Protocol

import msgspec

__all__ = [
    "BATCH",
    "ENDS",
    "LARGE",
    "NOTIFICATION",
    "REQUEST",
    "RESPONSE",
    "Counted",
    "Head",
    "Kind",
    "RequestId",
    "Whole",
]

RequestId = str | int
"""A JSON-RPC id. ``1`` and ``"1"`` are different ids, as they are different Python values."""


class Kind(enum.Enum):
    """What a frame is, by JSON-RPC 2.0."""

    REQUEST = "request"
    NOTIFICATION = "notification"
    RESPONSE = "response"
    BATCH = "batch"
    INVALID = "invalid"


# For what is done with every frame: ``Kind.REQUEST`` takes 0.07 us in Python 3.11, a name of the module's 0.01.
REQUEST: Final = Kind.REQUEST
NOTIFICATION: Final = Kind.NOTIFICATION
RESPONSE: Final = Kind.RESPONSE
BATCH: Final = Kind.BATCH


class Head(msgspec.Struct, frozen=True, gc=False):  # made for every frame: 0.08 us, a dataclass 0.88
    """The routing facts of one message; for a batch, the heads of its members."""

    kind: Kind
    id: RequestId | None = None
    method: str | None = None
    token: RequestId | None = None
    """The progress token of a request or of a ``notifications/progress``."""
    target: RequestId | None = None
    """The id of the request that a ``notifications/cancelled`` cancels."""
    members: tuple[Head, ...] = ()
    fault: str = ""
    """Why the frame is INVALID, for a message to its sender."""
    is_json: bool = True
    """False if the bytes are not even JSON."""
    payload_size: int = 0
    """Bytes of a large message's params, result or error; 0 if they were not counted."""
    is_excessive: bool = False
    """Whether it is INVALID because reading it would cost too much; see ``json_cost``."""

    @property
    def asks(self) -> bool:
        """Whether answers are due: it is a request, or a batch with a request in it."""
        return self.kind is Kind.REQUEST or any(member.kind is Kind.REQUEST for member in self.members)

    @property
    def messages(self) -> tuple[Head, ...]:
        """The messages of a batch, or this one."""
        return self.members if self.kind is BATCH else (self,)


LARGE = 2048  # bytes above which reading a message's ends is cheaper than reading all of it
ENDS = 4096  # bytes at either end of a large message that are searched for its envelope


class Counted(Protocol):
    """A frame whose values are counted once, however often somebody asks."""

    def excess(self) -> str:
        """Say what the frame has too many of; empty if it is within bounds."""


class Whole(Protocol):
    """A frame with all its bytes and its head."""

    raw: bytes

    @property
    def may_repeat_key(self) -> bool:
        """Whether a routed key may stand twice."""

    @property
    def head(self) -> Head:
        """What is known of it."""
