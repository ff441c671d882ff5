"""Judge what an authorization server says of a token: its claims (RFC 7519), or its introspection (RFC 7662). Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from relay.auth.inbound.verdicts import Challenge

__all__ = ["Expected", "Proof", "judge", "refusal"]

_EARLY = 30.0
"""Seconds that an issuer's clock may be ahead: a new token is good at once. No token outlives its ``exp``."""
_LONGEST_NAME = 512


class Expected(msgspec.Struct, frozen=True):
    """What a token must say."""

    issuer: str
    audience: str
    """The resource for which it was issued: this relay."""
    scopes: tuple[str, ...] = ()


class Proof(msgspec.Struct, frozen=True):
    """Whose token it is, and when it ends."""

    name: str
    ends: float | None
    """Seconds of the Unix epoch; None if the authorization server does not say."""


def refusal(message: str) -> Challenge:
    """Return the challenge to a client whose token is no good."""
    return Challenge(error="invalid_token", message=message, is_failed_login=True)


def judge(claims: Mapping[str, object], expected: Expected, now: float, *, must_end: bool) -> Proof | Challenge:
    """Return whose token has these claims, at ``now`` in seconds of the Unix epoch.

    ``must_end``: the token must name its issuer and its end, because nobody will be asked about it again.
    """
    if (must_end or "iss" in claims) and claims.get("iss") != expected.issuer:
        return refusal("the token is of another issuer")
    audience = claims.get("aud")
    if audience != expected.audience and not (isinstance(audience, list) and expected.audience in audience):
        return refusal("the token is for another audience")
    ends, begins, issued = (_number(claims, name) for name in ("exp", "nbf", "iat"))
    if any(one is not None and math.isnan(one) for one in (ends, begins, issued)) or (must_end and ends is None):
        return refusal("the token does not say in numbers when it ends")
    if ends is not None and now >= ends:
        return refusal("the token has expired")
    if max(begins or 0, issued or 0) > now + _EARLY:
        return refusal("the token is not valid yet")
    name = next((one for key in ("sub", "client_id") if isinstance(one := claims.get(key), str) and one), None)
    if name is None or len(name) > _LONGEST_NAME:
        return refusal("the token does not say whose it is")
    if missing := set(expected.scopes) - _scopes(claims):
        return Challenge(
            status=403,
            error="insufficient_scope",
            message=f"the token lacks {' '.join(sorted(missing))}",
            scope=" ".join(expected.scopes),
        )
    # A static token's name has no colon: the two kinds of names never meet.
    return Proof(f"sub:{name}", ends)


def _number(claims: Mapping[str, object], name: str) -> float | None:
    """Return a time; None if it is not there, and NaN if it is not a time."""
    value = claims.get(name)
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53
    return float(value) if is_number else math.nan  # type: ignore[arg-type] # it is a number


def _scopes(claims: Mapping[str, object]) -> set[str]:
    """Return the scopes of a token: as RFC 9068 and RFC 7662 write them, or in ``scp``, as some servers do."""
    found: set[str] = set()
    for value in (claims.get("scope"), claims.get("scp")):
        if isinstance(value, str):
            found.update(value.split())
        elif isinstance(value, list):
            found.update(one for one in value if isinstance(one, str))
    return found
