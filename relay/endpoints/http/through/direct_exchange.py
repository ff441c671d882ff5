"""Forward an ordinary POST from one kept connection to another without a task.

With aiohttp's handler on one side and its session on the other, a call costs 220 us; here it costs 50. A stream, a
refusal, a late answer and a server that breaks off take the ordinary way. That way continues with what has arrived, so
the relay sends nothing twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from relay.endpoints.http.media import JSON, media_type, without_bom
from relay.endpoints.http.through.stream_watch import once_each
from relay.errors import EndpointBroken
from relay.frames.frame import Frame

if TYPE_CHECKING:
    from relay.endpoints.http.client.pool import PooledConnection, PooledResponse

__all__ = ["DirectClient", "DirectExchange"]

_LINE_BREAKS = frozenset("\r\n\0")


class DirectClient(Protocol):
    """The client's connection, which receives the answer."""

    def answer_direct(self, headers: bytes, body: bytes) -> None:
        """Write a complete answer."""

    def expect_direct(self, direct: DirectExchange, seconds: float) -> None:
        """Wait ``seconds`` for the answer; then the ordinary way takes over."""

    def forget_onward(self) -> None:
        """Forget the head of forwarded requests, because the server has moved."""

    def wake_for_direct(self) -> None:
        """Let the ordinary way take over."""


class DirectExchange:
    """One request that the relay has sent over a kept connection, and that waits for its answer."""

    def __init__(
        self,
        connection: DirectClient,
        pooled: PooledConnection,
        frame: Frame,
        number: int,
        *,
        homeward: tuple[str, ...],
        max_bytes: int,
        on_end: Callable[[DirectExchange], None],
    ) -> None:
        """Answer ``connection`` with at most ``max_bytes`` and the headers ``homeward``; call ``on_end`` at the end.

        ``number`` is the request's own, in the table of the server.
        """
        self.frame = frame
        self.number = number
        self.login: Mapping[str, str] = {}
        """The headers of the login with which the request was sent."""
        self._connection: DirectClient | None = connection
        self._pooled = pooled
        self._homeward = homeward
        self._max_bytes = max_bytes
        self._on_end = on_end
        self._answer: PooledResponse | None = None
        self._answered: asyncio.Event | None = None
        """Set once the answer has arrived or cannot arrive; created only if the exchange takes the ordinary way."""
        self._is_answered = False
        self._has_ended = False
        self.is_given_up = False
        """Whether the client has left."""

    def take(self, answer: PooledResponse | None, answer_in: Callable[[bytes, PooledResponse], bytes | None]) -> None:
        """Take the server's answer, or None if the server broke off; forward a plain answer once it is complete.

        ``answer_in`` returns the part of a body that answers the request, or None.
        """
        if self.is_given_up:
            return
        self._answer, self._is_answered = answer, True
        if self._answered is not None:
            self._answered.set()
        if self._connection is not None and answer is not None and not answer.is_whole and _is_json(answer):
            go_on = functools.partial(self._answer_or_go_on, answer_in)
            if answer.call_when_whole(go_on, self._max_bytes):
                return
        self._answer_or_go_on(answer_in)

    def _answer_or_go_on(self, answer_in: Callable[[bytes, PooledResponse], bytes | None]) -> None:
        connection, answer = self._connection, self._answer
        if connection is None:
            return  # the ordinary way has taken over, or the client has left
        if answer is not None and (headers := self._plain(answer)) is not None:
            body: bytes | None = answer.whole_body()
            if body is not None and body[:1] != b"{":  # hardly any answer
                body = once_each(without_bom(body))
            if body is not None and (body := answer_in(body, answer)) is not None:
                self._pooled.release()
                self._end()
                connection.answer_direct(headers, body)
                return
        self.go_on()

    def _plain(self, answer: PooledResponse) -> bytes | None:
        """Return the headers for the client, if the relay can write this answer now."""
        if not answer.is_plain or not answer.is_whole or answer.size > self._max_bytes:
            return None
        known = self._pooled.homeward
        if known is not None and known[0] is answer.headers:  # answers with the same cached head share one object
            return known[1]
        lines = _header_lines(answer.headers, self._homeward) if _is_json(answer) else None
        with contextlib.suppress(UnicodeEncodeError):
            if lines is not None:
                encoded = lines.encode("latin-1")
                self._pooled.homeward = (answer.headers, encoded)
                return encoded
        return None

    def go_on(self) -> None:
        """Let the ordinary way take over: the answer is late, or the relay cannot write it at once."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.wake_for_direct()

    def client_left(self) -> None:
        """Cancel the request: its client has left."""
        self.is_given_up = True
        self._end()
        self._pooled.abort()

    def _end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._connection = None
            self._on_end(self)

    @contextlib.asynccontextmanager
    async def response(self, name: str) -> AsyncIterator[PooledResponse]:
        """Yield the answer once the headers have arrived, as ``Dial.request`` does. Raises EndpointBroken."""
        self._end()  # the handler counts the request from here on
        is_taken = False
        try:
            if not self._is_answered:
                self._answered = asyncio.Event()
                await self._answered.wait()
            answer = self._answer
            if answer is None:
                raise EndpointBroken(f"{name}: the server closed the connection before answering")
            yield answer
            is_taken = answer.is_whole
        finally:
            if is_taken:
                self._pooled.release()
            else:
                self._pooled.abort()


def _is_json(answer: PooledResponse) -> bool:
    return answer.status == 200 and media_type(answer.headers.get("Content-Type")) == JSON


def _header_lines(headers: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    """Return the named headers as lines; None if a value contains a line break."""
    lines = [f"{name}: {value}\r\n" for name in names if (value := headers.get(name)) is not None]
    return None if any(_LINE_BREAKS.intersection(line[:-2]) for line in lines) else "".join(lines)
