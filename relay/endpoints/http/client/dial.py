"""What the HTTP clients need of connections to one server, whoever makes them: requests, and what answers mean.

``aiohttp_dial`` makes them with aiohttp, ``httpx_dial`` with a caller's own ``httpx.AsyncClient``. MCP's rules are in
neither: they are in ``streamable`` and ``sse``, once.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol

from yarl import URL

from relay.addresses import shown_address
from relay.auth.maskable import maskable
from relay.endpoints.http.address import join_url
from relay.endpoints.http.client.content_coding import coding_of, decode, is_readable
from relay.endpoints.http.client.error_page import describe_page, page_of
from relay.errors import FrameTooLarge
from relay.frames.sse import SseDecoder, SseEvent
from relay.limits import Limits
from relay.observe.hub import Hub

if TYPE_CHECKING:
    from relay.endpoints.core.tasks import TaskScope
    from relay.endpoints.http.client.cookies import CookieJar
    from relay.endpoints.http.client.pool import ConnectionPool

__all__ = ["AnyDial", "Headers", "Response", "secrets_in"]

logger = logging.getLogger("relay")

_SHOWN_ERROR = 500  # characters of an error page that are passed on
_MOVED = (307, 308)
_GONE = (404, 405, 410)
_MAX_MOVES = 64  # addresses: that of the server, and of the sessions of HTTP+SSE


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
        self.hub = Hub()
        """Hears of the requests that are handed on through this dial; no pipe carries them."""
        self._secrets = secrets
        self._moves: dict[URL, URL] = {}
        """Where the server has sent us from each address."""
        self.is_settled = False
        """Whether the last POST was answered where it was sent: the next will hardly have to be sent elsewhere."""

    # For subclasses to say.

    def exchange(
        self, method: str, url: URL, headers: Mapping[str, str], body: Any, jar: CookieJar | None
    ) -> AbstractAsyncContextManager[Any]:
        """Send one request and yield its answer once its headers are here.

        Raises EndpointUnavailable if no connection was made, EndpointBroken if it failed after that.
        """
        raise NotImplementedError

    def pieces(self, response: Any) -> AsyncIterator[bytes]:
        """Yield an answer's body as it comes, as it was sent. Raises EndpointBroken if the connection breaks."""
        raise NotImplementedError

    def moved(self) -> None:
        """Take note that POSTs go to another address from now on."""

    # Requests.

    @contextlib.asynccontextmanager
    async def request(
        self,
        method: str,
        headers: Mapping[str, str],
        *,
        url: URL | None = None,
        body: Any = None,
        jar: CookieJar | None = None,
        may_follow: bool = True,
    ) -> AsyncIterator[Any]:
        """Send one request and yield its answer once its headers are here; cookies are those of ``jar``, or ours.

        A POST that is redirected with 307 or 308, which says that it was not executed, within the origin goes there,
        once, if its body is still here; so do all that follow. Raises EndpointUnavailable if no connection was made,
        EndpointBroken if it failed after that, here or while the caller reads.
        """
        asked = self.url if url is None else url
        sent_to = self.where(asked)
        may_follow = may_follow and method == "POST"
        async with self.exchange(method, sent_to, headers, body, jar) as response:
            has_moved = may_follow and self.learn_move(response, asked, sent_to)
            if not has_moved or not (body is None or isinstance(body, bytes)):
                if method == "POST":
                    self._forget_move(response, asked)
                    self.is_settled = not has_moved
                yield response
                return
        async with self.exchange(method, self.where(asked), headers, body, jar) as response:
            self.is_settled = response.status not in _MOVED
            yield response

    def where(self, url: URL) -> URL:
        """Return where a request for ``url`` goes: there, or where the server has sent us."""
        return self._moves.get(url, url) if self._moves else url

    def learn_move(self, response: Response, asked: URL, sent_to: URL) -> bool:
        """Remember where a redirected POST leads; return whether it is to be sent there.

        To another origin nothing goes: neither headers nor bodies are for it.
        """
        location = response.headers.get("Location") if response.status in _MOVED else None
        if location is None:
            return False
        try:
            target = join_url(sent_to, location)
            if target == sent_to or target.origin() != self.url.origin():
                return False
        except ValueError:
            return False
        if self.where(asked) != target:
            logger.info("%s: HTTP %d: it is at %s", self.name, response.status, shown_address(str(target)))
            if len(self._moves) >= _MAX_MOVES:
                self._moves.clear()
            self._moves[asked] = target
            self.moved()
        return True

    def _forget_move(self, response: Response, asked: URL) -> None:
        """Ask at the old address again if there is nothing at the new one (any more)."""
        if self._moves and response.status in _GONE and self._moves.pop(asked, None) is not None:
            self.moved()

    def chunks(self, response: Any) -> AsyncIterator[bytes]:
        """Yield an answer's body as it comes, out of its coding. Raises EndpointBroken if it breaks in the middle."""
        coding = self.coding_of(response)
        pieces = self.pieces(response)
        return decode(pieces, coding, self.name) if coding else pieces

    def coding_of(self, response: Any) -> str:
        """Return the coding that an answer's pieces are in."""
        return coding_of(response.headers)

    async def events(self, response: Any) -> AsyncIterator[list[SseEvent]]:
        """Yield an answer's events as they come, those that came together at once. Raises EndpointBroken.

        One of more than ``max_frame_bytes`` is ``Oversized``.
        """
        decoder = SseDecoder(self.limits.max_frame_bytes)
        async for piece in self.chunks(response):
            if events := decoder.feed(piece):
                yield events

    def pool(self, tasks: TaskScope) -> ConnectionPool | None:
        """Return the pool of kept connections to this server, if there is one and it may be used."""
        return None

    async def aclose(self) -> None:
        """Close every connection that is the dial's own."""

    # What answers mean.

    async def read_body(self, response: Any) -> bytes:
        """Read an answer's body. Raises FrameTooLarge beyond ``max_frame_bytes``, EndpointBroken."""
        limit = self.limits.max_frame_bytes
        body = io.BytesIO()  # whose value is no copy: pieces that are joined take the memory of the body twice
        size = 0
        async for piece in self.chunks(response):
            size += len(piece)
            if size > limit:
                raise FrameTooLarge(f"{self.name}: an answer of more than {limit} bytes; see --max-frame-bytes")
            body.write(piece)
        return body.getvalue()

    async def read_error_body(self, response: Any) -> bytes:
        """Read the first ``max_error_body`` bytes of an error page, or what of it comes in ``error_body_wait`` seconds.

        Without a length it ends with its connection, which a server may keep open; its status has been said already.
        See ``describe_error_body``.
        """
        data = b""
        if not is_readable(self.coding_of(response)):
            return page_of(response, data, self._address_of(response))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.limits.error_body_wait):
                async for piece in self.chunks(response):
                    data += piece
                    if len(data) >= self.limits.max_error_body:
                        break
        return page_of(response, data[: self.limits.max_error_body], self._address_of(response))

    def _address_of(self, response: Any) -> URL:
        """Return what an answer is the answer of, from which its references are seen."""
        return URL(str(response.url), encoded=True)

    def describe_error_body(self, body: bytes) -> str:
        """Return what an error page and its head say, without the secrets of ours that it may repeat."""
        text = describe_page(body)
        for secret in self._all_secrets():
            text = text.replace(secret, "***")
        return text[:_SHOWN_ERROR]

    def _all_secrets(self) -> list[str]:
        return self._secrets


def secrets_in(headers: Mapping[str, str]) -> list[str]:
    """Return the values of our headers, and what follows the scheme in them: the longer first."""
    return maskable(part for value in headers.values() for part in (value, value.partition(" ")[2]))
