"""Define how the HTTP clients send requests to one server and read the answers, whichever library connects.

``aiohttp_dial`` connects with aiohttp, ``httpx_dial`` with a caller's own ``httpx.AsyncClient``. Neither knows the
rules of MCP: those are in ``streamable`` and ``sse``, once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol

from multidict import CIMultiDict
from yarl import URL

from relay.addresses import shown_address
from relay.auth.maskable import maskable
from relay.endpoints.http.address import join_url
from relay.endpoints.http.client.content_coding import coding_of, decode, is_readable
from relay.endpoints.http.client.error_page import describe_page, page_of
from relay.errors import FrameTooLarge
from relay.frames.faults import size_fault
from relay.frames.growing import Growing
from relay.frames.sse import SseDecoder, SseEvent
from relay.limits import Limits
from relay.observe.hub import Hub

if TYPE_CHECKING:
    from relay.auth.outbound.tries import ServerLogin, Tries
    from relay.endpoints.core.tasks import TaskScope
    from relay.endpoints.http.client.cookies import CookieJar
    from relay.endpoints.http.client.pool import ConnectionPool
    from relay.frames.frame import Frame

__all__ = ["AnyDial", "Headers", "Response", "secrets_in"]

logger = logging.getLogger("relay")

_SHOWN_ERROR = 500  # characters of an error page that the relay forwards
_MOVED = (307, 308)
_GONE = (404, 405, 410)
NO_HEADERS: Mapping[str, str] = {}
_MAX_MOVES = 64  # addresses: the server's own, and those of HTTP+SSE sessions


class Headers(Protocol):
    """The headers of an answer, looked up without regard to case."""

    def get(self, name: str, /) -> str | None:
        """Return one header, or None if it is missing."""


class Response(Protocol):
    """An answer whose headers have arrived; read its body through the dial that returned the answer."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Headers:
        """The headers."""


class AnyDial:
    """The connections to one MCP server over HTTP."""

    ends_with_server = False
    """Whether an endpoint ends once its server is gone."""

    def __init__(self, url: URL, limits: Limits, secrets: list[str], login: ServerLogin | None = None) -> None:
        """Connect to ``url`` with the credentials of ``login``; no error message shows any of ``secrets``."""
        self.url = url
        self.limits = limits
        self.name = shown_address(str(url))
        self.hub = Hub()
        """Tells observers of the requests that this dial forwards, because no pipe carries those requests."""
        self._secrets = secrets
        self.login = login
        self._moves: dict[URL, URL] = {}
        """The address to which the server has redirected each address."""
        self.is_settled = False
        """Whether the server answered the last POST without a redirect, so that it will hardly redirect the next."""

    # For subclasses to define.

    def exchange(
        self, method: str, url: URL, headers: Mapping[str, str], body: Any, jar: CookieJar | None
    ) -> AbstractAsyncContextManager[Any]:
        """Send one request and yield its answer once the headers have arrived.

        Raises EndpointUnavailable if no connection was made, and EndpointBroken if the connection failed later.
        """
        raise NotImplementedError

    def pieces(self, response: Any) -> AsyncIterator[bytes]:
        """Yield an answer's body, still encoded, as it arrives. Raises EndpointBroken if the connection breaks."""
        raise NotImplementedError

    @property
    def follows_moves(self) -> bool:
        """Whether the relay follows a redirect of a POST within the origin."""
        return True

    def moved(self) -> None:
        """Adapt to a redirect: POSTs go to another address from now on."""

    # Credentials.

    @property
    def has_login(self) -> bool:
        """Whether requests carry credentials, so that a 401 means wrong credentials rather than missing ones."""
        return self.login_headers() != NO_HEADERS

    def login_headers(self) -> Mapping[str, str] | None:
        """Return the headers of the login to send now; None if the relay must wait for them."""
        return NO_HEADERS if self.login is None else self.login.current()

    def tries(
        self,
        frame: Frame | None = None,
        *,
        sent: Mapping[str, str] | None = None,
        is_background: bool = False,
        patience: asyncio.Timeout | None = None,
    ) -> Tries | None:
        """Return the tries of one request, which may be sent again after a refusal; None without a login.

        ``sent``: the headers of the login with which the request has been sent already. ``is_background``: no person
        may be asked. ``patience``: a deadline, in which the time for a login does not count.
        """
        if self.login is None:
            return None
        return self.login.tries(frame, sent=sent, is_background=is_background, patience=patience)

    @property
    def is_logging_in(self) -> bool:
        """Whether a request waits for a login."""
        return self.login is not None and self.login.is_under_way

    def may_be_refused(self, status: int) -> bool:
        """Tell whether an answer of this status may mean that the server wants other credentials."""
        return self.login is not None and status in (401, 403)

    # Requests.

    def request(
        self,
        method: str,
        headers: Mapping[str, str],
        *,
        url: URL | None = None,
        body: Any = None,
        jar: CookieJar | None = None,
        may_follow: bool = True,
        tries: Tries | None = None,
    ) -> AbstractAsyncContextManager[Any]:
        """Send one request with the cookies of ``jar``, or the dial's own, and yield its answer after the headers.

        A 307 or 308 means that the server did not execute the POST. The relay follows such a redirect once, within the
        origin, if the body can be sent again. Later POSTs go to the new address at once.

        After a refusal of the credentials, the relay sends the request again as often as ``tries`` allows.

        Raises EndpointUnavailable if no connection was made or the relay got no credentials, and EndpointBroken if the
        connection failed later, here or while the caller reads.
        """
        if self.login is None:
            return self._request(method, headers, url, body, jar, may_follow=may_follow)
        tries = tries or self.login.tries()
        return self._request_with(tries, method, headers, url, body, jar, may_follow=may_follow)

    @contextlib.asynccontextmanager
    async def _request_with(
        self,
        tries: Tries,
        method: str,
        headers: Mapping[str, str],
        url: URL | None,
        body: Any,
        jar: CookieJar | None,
        *,
        may_follow: bool,
    ) -> AsyncIterator[Any]:
        can_resend = body is None or isinstance(body, bytes)
        while True:
            all_headers = CIMultiDict(headers)
            all_headers.update(await tries.headers())
            async with self._request(method, all_headers, url, body, jar, may_follow=may_follow) as response:
                if not (can_resend and await tries.may_send_again(response.status, response.headers)):
                    yield response
                    return

    @contextlib.asynccontextmanager
    async def _request(
        self,
        method: str,
        headers: Mapping[str, str],
        url: URL | None,
        body: Any,
        jar: CookieJar | None,
        *,
        may_follow: bool,
    ) -> AsyncIterator[Any]:
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
        """Return the address of requests for ``url``: the address that the server redirected to, or ``url``."""
        return self._moves.get(url, url) if self._moves else url

    def learn_move(self, response: Response, asked: URL, sent_to: URL) -> bool:
        """Remember the target of a redirected POST; return whether to send the POST there.

        The relay sends nothing to another origin: headers and bodies are for this server only.
        """
        location = response.headers.get("Location") if response.status in _MOVED else None
        if location is None or not self.follows_moves:
            return False
        try:
            target = join_url(sent_to, location)
            if target == sent_to or target.origin() != self.url.origin():
                return False
            if self.login is not None and not self.login.covers(str(target)):
                return False
        except ValueError:
            return False
        if self.where(asked) != target:
            logger.info("%s: HTTP %d: redirected to %s", self.name, response.status, shown_address(str(target)))
            if len(self._moves) >= _MAX_MOVES:
                self._moves.clear()
            self._moves[asked] = target
            self.moved()
        return True

    def _forget_move(self, response: Response, asked: URL) -> None:
        """Return to the old address if the new one has nothing, or no longer has it."""
        if self._moves and response.status in _GONE and self._moves.pop(asked, None) is not None:
            self.moved()

    def chunks(self, response: Any) -> AsyncIterator[bytes]:
        """Yield an answer's decoded body as it arrives. Raises EndpointBroken if the body breaks off."""
        coding = self.coding_of(response)
        pieces = self.pieces(response)
        return decode(pieces, coding, self.name) if coding else pieces

    def coding_of(self, response: Any) -> str:
        """Return the content coding of the pieces of an answer; "" if they are not encoded."""
        return coding_of(response.headers)

    async def events(self, response: Any) -> AsyncIterator[list[SseEvent]]:
        """Yield an answer's events as they arrive, grouped by the read that completed them. Raises EndpointBroken.

        The data of an event is ``Oversized`` if it exceeds ``max_frame_bytes``.
        """
        decoder = SseDecoder(self.limits.max_frame_bytes)
        async for piece in self.chunks(response):
            if events := decoder.feed(piece):
                yield events

    def pool(self, tasks: TaskScope) -> ConnectionPool | None:
        """Return the pool of kept connections to this server, or None if none may be used."""
        return None

    async def aclose(self) -> None:
        """Close every connection that the dial owns."""

    # What answers mean.

    async def read_body(self, response: Any) -> bytes:
        """Read an answer's body. Raises FrameTooLarge beyond ``max_frame_bytes``, and EndpointBroken."""
        limit = self.limits.max_frame_bytes
        body = Growing()
        size = 0
        async for piece in self.chunks(response):
            size += len(piece)
            if size > limit:
                fault = size_fault(limit + 1, limit, "an answer", is_cut=True)
                raise FrameTooLarge(f"{self.name}: {fault}")
            body.write(piece)
        return body.whole()

    async def read_error_body(self, response: Any) -> bytes:
        """Read the start of an error page, for ``error_body_wait`` seconds and ``max_error_body`` bytes at most.

        A page without a length ends with its connection, which the server may keep open. The status is enough for an
        error, so the client does not wait longer. See ``describe_error_body``.
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
        """Return the URL of an answer, against which its relative references resolve."""
        return URL(str(response.url), encoded=True)

    def describe_error_body(self, body: bytes) -> str:
        """Describe an error page and its headers, and mask the relay's secrets that the page may repeat."""
        text = describe_page(body)
        for secret in self._all_secrets():
            text = text.replace(secret, "***")
        return text[:_SHOWN_ERROR]

    def _all_secrets(self) -> list[str]:
        return self._secrets if self.login is None else maskable([*self.login.secrets, *self._secrets])


def secrets_in(headers: Mapping[str, str]) -> list[str]:
    """Return the values of the relay's headers and the part after their scheme, the longest first."""
    return maskable(part for value in headers.values() for part in (value, value.partition(" ")[2]))
