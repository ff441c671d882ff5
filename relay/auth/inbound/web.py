"""How verifiers reach the authorization server. What they are given does the I/O, so that this package does none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from relay.errors import EndpointUnavailable

__all__ = ["Web", "read_object"]


class Web(Protocol):
    """Requests without redirects and cookies, whose answers are bounded."""

    async def get(self, url: str, *, limit: int) -> tuple[int, bytes]:
        """Return the status and the body of a document of at most ``limit`` bytes. Raises EndpointUnavailable."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, limit: int) -> tuple[int, bytes]:
        """Send a body; return the status and the body of the answer. Raises EndpointUnavailable."""


def read_object(status: int, body: bytes, url: str) -> dict[str, Any]:
    """Return the JSON object in an answer of status 200. Raises EndpointUnavailable."""
    if status != 200:
        raise EndpointUnavailable(f"{url}: HTTP {status}")
    try:
        document = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        document = None
    if not isinstance(document, dict):
        raise EndpointUnavailable(f"{url}: the answer is not a JSON object")
    return document
