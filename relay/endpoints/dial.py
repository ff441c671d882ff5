"""What the HTTP clients need of connections to one server, whoever makes them: requests, and what answers mean.

``http_dial`` makes them with aiohttp, ``httpx_dial`` with a caller's own ``httpx.AsyncClient``. MCP's rules are in
neither: they are in ``http_client`` and ``sse_client``, once.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from yarl import URL

from relay.addresses import shown_address
from relay.errors import FrameTooLarge
from relay.frames.frame import UNREADABLE
from relay.frames.sse import SseDecoder, SseEvent
from relay.limits import Limits

if TYPE_CHECKING:
    from relay.endpoints.http_client_lane import Lane
    from relay.endpoints.tasks import TaskScope

__all__ = ["AnyDial", "Headers", "Response", "secrets_in"]

_SHOWN_ERROR = 500  # characters of an error page that are passed on


class Headers(Protocol):
    """Headers of an answer, whatever their case."""

    def get(self, name: str, /) -> str | None:
        """Return one header; None if it is not there."""


class Response(Protocol):
    """An answer whose headers are here; its body is read through the dial that it came from."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Headers:
        """The headers."""


class AnyDial:
    """The way to one MCP server by HTTP."""

    has_login = False
    """Whether requests go with credentials: who is refused has others to find, not some."""

    def __init__(self, url: URL, limits: Limits, secrets: list[str]) -> None:
        """Speak to ``url``; no error shows any of ``secrets``."""
        self.url = url
        self.limits = limits
        self.name = shown_address(str(url))
        self.fault: str | None = None
        """Why the last request that was handed on had no answer; None if it had one."""
        self._secrets = secrets

    # For subclasses to say.

    def request(
        self, method: str, headers: Mapping[str, str], *, url: URL | None = None, body: bytes | None = None
    ) -> AbstractAsyncContextManager[Any]:
        """Send one request and yield its answer once its headers are here.

        Raises EndpointUnavailable if no connection was made, EndpointBroken if it failed after that.
        """
        raise NotImplementedError

    def chunks(self, response: Any) -> AsyncIterator[bytes]:
        """Yield an answer's body as it comes. Raises EndpointBroken if the connection breaks in the middle."""
        raise NotImplementedError

    async def events(self, response: Any) -> AsyncIterator[list[SseEvent]]:
        """Yield an answer's events as they come, those that came together at once. Raises EndpointBroken.

        One of more than ``max_frame_bytes`` is ``Oversized``.
        """
        decoder = SseDecoder(self.limits.max_frame_bytes)
        async for piece in self.chunks(response):
            if events := decoder.feed(piece):
                yield events

    def lane(self, tasks: TaskScope) -> Lane | None:
        """Return the lane of kept connections to this server, if there is one and it may be used."""
        return None

    async def aclose(self) -> None:
        """Close every connection that is the dial's own."""

    # What answers mean.

    async def read_body(self, response: Any) -> bytes:
        """Read an answer's body. Raises FrameTooLarge beyond ``max_frame_bytes``, EndpointBroken."""
        limit = self.limits.max_frame_bytes
        pieces: list[bytes] = []
        size = 0
        async for piece in self.chunks(response):
            size += len(piece)
            if size > limit:
                raise FrameTooLarge(f"{self.name}: an answer of more than {limit} bytes; see --max-frame-bytes")
            pieces.append(piece)
        return b"".join(pieces)

    async def read_error_body(self, response: Any) -> bytes:
        """Read the first ``max_error_body`` bytes of an error page."""
        data = b""
        async for piece in self.chunks(response):
            data += piece
            if len(data) >= self.limits.max_error_body:
                break
        return data[: self.limits.max_error_body]

    def describe_error_body(self, body: bytes) -> str:
        """Return what an error page says, without the secrets of ours that it may repeat."""
        text = _message_in(body)
        for secret in self._all_secrets():
            text = text.replace(secret, "***")
        return text[:_SHOWN_ERROR]

    def _all_secrets(self) -> list[str]:
        return self._secrets


def secrets_in(headers: Mapping[str, str]) -> list[str]:
    """Return the values of our headers, and what follows the scheme in them: the longer first."""
    values = {part for value in headers.values() for part in (value, value.partition(" ")[2]) if len(part) >= 4}
    return sorted(values, key=len, reverse=True)


class _ErrorObject(msgspec.Struct):
    message: str = ""


class _ErrorBody(msgspec.Struct):
    error: _ErrorObject | str | None = None
    detail: str | None = None


_decode_error_body = msgspec.json.Decoder(_ErrorBody).decode


def _message_in(body: bytes) -> str:
    """Return the message in an error page, if it is JSON of a known kind; else its first line, unless it is HTML."""
    with contextlib.suppress(*UNREADABLE):
        parsed = _decode_error_body(body)
        text = parsed.error.message if isinstance(parsed.error, _ErrorObject) else parsed.error or parsed.detail
        if text:
            return text
    line = body.strip().partition(b"\n")[0].decode("utf-8", "replace")
    return "" if line.startswith("<") else "".join(c if c.isprintable() else " " for c in line)
