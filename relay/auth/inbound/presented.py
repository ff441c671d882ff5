"""Find the token that a request carries. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from relay.auth.inbound.verdicts import Challenge

if TYPE_CHECKING:
    from multidict import MultiMapping

__all__ = ["TOKEN_HEADERS", "presented_token"]

TOKEN_HEADERS = ("Authorization", "X-API-Key", "X-Proxy-Token")
"""The headers that may carry a token; ``Authorization`` carries one of the scheme Bearer."""


def presented_token(headers: MultiMapping[str]) -> str | Challenge | None:
    """Return a request's token, None if it has none, or a challenge if it has several different ones."""
    found = set(_tokens(headers))
    if len(found) > 1:
        # RFC 6750 §3.1: a request with more than one way of including a token is invalid.
        return Challenge(status=400, error="invalid_request", message="the request carries several different tokens")
    return found.pop() if found else None


def _tokens(headers: MultiMapping[str]) -> Iterator[str]:
    for name in TOKEN_HEADERS:
        for value in headers.getall(name, ()):
            if name == "Authorization":
                scheme, _, value = value.strip().partition(" ")
                if scheme.lower() != "bearer":
                    continue  # another scheme may be meant for a server before this one
            if value := value.strip():
                yield value
