"""The outcome of a login, as values: a principal, a challenge, or a question that takes time."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from relay.values import PrivateValue

__all__ = ["Challenge", "Pending", "Principal", "Verdict"]


class Principal(msgspec.Struct, frozen=True):
    """A client that has proven who it is."""

    name: str
    """The name that owns sessions; two principals never have the same one."""
    until: float | None = None
    """When the proof expires, in seconds by the loop's clock; None for never."""


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request is not admitted, and what its client may do. No field contains any part of a token."""

    message: str
    status: Literal[400, 401, 403, 429, 503] = 401
    error: str = ""
    """The code of RFC 6750 §3.1; empty if the request has no token."""
    scope: str = ""
    """The scopes that the client needs, separated by spaces; empty if they are not the fault."""
    retry_after: int | None = None
    """Seconds after which the client may try again."""
    is_failed_login: bool = False
    """Whether the request counts as a failed login of its address."""


class Pending(PrivateValue, frozen=True):
    """A token about which the authorization server must be asked first."""

    token: str


Verdict: TypeAlias = "Principal | Challenge | Pending"
