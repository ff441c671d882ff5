"""WebSocket endpoints, dialled and accepted: one text message is one frame, and a JSON-RPC batch is one message.

The subprotocol is ``mcp``. WebSocket has no half-close, so a side that has sent its last frame waits for the open
answers and then closes. aiohttp does the framing. The relay does not use aiohttp's heartbeat, which takes a peer for
dead while the relay does not read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, cast

import aiohttp
from aiohttp import WSMsgType, web
from multidict import CIMultiDict

from relay.addresses import shown_address
from relay.auth.maskable import maskable
from relay.endpoints.base import ANONYMOUS
from relay.endpoints.core.arrivals import Arrivals
from relay.endpoints.core.connected import ConnectedEndpoint
from relay.endpoints.core.dialling import DEFAULT_DIALLING, DiallingOptions
from relay.endpoints.core.hops import Trail, own_headers
from relay.endpoints.core.inbox import FrameInbox
from relay.endpoints.core.keepalive import detect_dead_peer
from relay.endpoints.core.settlement import Settlement
from relay.endpoints.core.tasks import TaskScope
from relay.endpoints.core.turns import LARGE, read_in_turn
from relay.endpoints.http import aiohttp_private
from relay.endpoints.http.address import parse_url
from relay.endpoints.http.client.aiohttp_dial import keeping
from relay.endpoints.http.client.connector import new_connector
from relay.endpoints.http.client.cookies import CookieJar
from relay.endpoints.http.client.dial import secrets_in
from relay.endpoints.http.client.failures import describe_failure, describe_unreached
from relay.endpoints.http.client.proxy import proxy_for
from relay.endpoints.http.media import listed, without_bom
from relay.endpoints.http.steps import SUBPROTOCOL
from relay.endpoints.websocket.masks import MaskedSocket
from relay.endpoints.websocket.sending import send_masked
from relay.endpoints.websocket.upgrade_refusal import UpgradeRefused, explaining
from relay.errors import EndpointBroken, EndpointClosed, EndpointUnavailable, RelayError
from relay.frames.faults import size_fault
from relay.frames.frame import Frame
from relay.frames.head import Kind
from relay.frames.json_cost import is_utf8
from relay.frames.lines import KEPT, Oversized
from relay.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from relay.endpoints.core.refusal_log import RefusalLog

__all__ = ["WebSocketEndpoint", "accept_websocket", "dial_websocket"]

logger = logging.getLogger("relay")


_PROTOCOLS = "Sec-WebSocket-Protocol"
_ORDERLY = (0, 1000, 1001, 1005)  # normal, going away, and the two ways to give no code
_BINARY = 1003
_INVALID_TEXT = 1007
_TOO_BIG = 1009
_LOST = 1006
_INTERNAL_ERROR = 1011
_GOING_AWAY = 1001
_POLICY = 1008
# The relay reads a frame that is slightly too large, so that it can answer the frame's id and keep the connection. A
# still larger frame ends the connection with 1009, because aiohttp keeps none of it.
_SLACK = 1024 * 1024
# What aiohttp raises for a connection that is closed or closing.
_FAILURES = (aiohttp.ClientError, ConnectionError, RuntimeError)

_Socket = aiohttp.ClientWebSocketResponse[Literal[False]] | web.WebSocketResponse[Literal[False]]


class WebSocketEndpoint(ConnectedEndpoint):
    """A peer behind a WebSocket, made by ``dial_websocket`` or ``accept_websocket``."""

    def __init__(
        self,
        name: str,
        socket: _Socket,
        transport: asyncio.Transport,
        limits: Limits,
        *,
        peer_serves: bool,
        session: aiohttp.ClientSession | None = None,
        refusals: RefusalLog | None = None,
    ) -> None:
        """Take over a WebSocket after its handshake."""
        settlement = Settlement(name, limits, peer_serves=peer_serves, refusals=refusals)
        super().__init__(name, limits, FrameInbox(name, limits), settlement)
        self._socket = socket
        self._transport = transport
        self._protocol: Any = transport.get_protocol()  # aiohttp's
        self._peer_serves = peer_serves
        self._session = session
        self._tasks = TaskScope()
        self._failure: EndpointBroken | None = None
        self._is_closing = False
        self._closed = asyncio.Event()
        self._silent_since: float | None = None
        self._is_unadmitted = False
        self.owner = ANONYMOUS
        """The principal that connected."""
        self.pace: Callable[[], float] | None = None
        """Counts a message of the peer, and returns the seconds that it must wait; None for no limit."""
        self.trail: Trail | None = None
        """The relays that the client's connection has passed through."""
        self._stranger = socket if isinstance(socket, MaskedSocket) else None
        """The socket of a client that has not sent a frame yet, else None."""
        self._is_decided = asyncio.Event()
        self._handshake: asyncio.TimerHandle | None = None
        self._last_used = monotonic()

    def begin(self) -> None:
        """Start to read, and to ping a silent peer."""
        if hasattr(self._protocol, "_data_received_cb"):
            # Each piece of a large message on a slow line is a sign of life, not only its end.
            self._protocol._data_received_cb = self._heard
        if self._stranger is not None:
            self._wait_for_message(self._stranger, monotonic())
        self._tasks.spawn(self._read(), name=f"{self.name}: read")
        self._tasks.spawn(self._keep_alive(), name=f"{self.name}: keep alive")

    def vouch(self) -> None:
        """Take a client that has proven itself otherwise for one that has sent its first frame."""
        if self._stranger is not None:
            self._admit(self._stranger)

    async def proves_itself(self) -> bool:
        """Wait for the first frame of a client; return False if the connection ends before it."""
        if self._stranger is not None:
            await self._is_decided.wait()
        return self._stranger is None

    async def send(self, frames: Sequence[Frame]) -> None:
        """Send one message for each frame; wait while the peer does not read.

        Raises EndpointBroken and EndpointClosed.
        """
        if self._sent_eof:
            raise EndpointClosed(f"{self.name}: send after its end")
        if self._failure is not None:
            raise self._failure
        if self._inbox.is_finished:
            raise EndpointBroken(f"{self.name}: the peer has closed the connection")
        onward, back = self._settlement.hand_over(frames)
        self._inbox.put(back)
        await self._write(onward)

    async def _write(self, frames: Sequence[Frame]) -> None:
        try:
            for frame in frames:
                if self._peer_serves:
                    await send_masked(self._socket._writer, frame.raw)
                else:
                    await self._socket.send_frame(frame.raw, WSMsgType.TEXT)
        except _FAILURES as exc:
            raise self._failure or EndpointBroken(f"{self.name}: {_describe(exc)}") from exc
        except asyncio.CancelledError:
            # All aiohttp writers wait for one future, which this has cancelled. The last frames would fail, too.
            waiter = getattr(self._protocol, "_drain_waiter", None)
            if waiter is not None and waiter.cancelled():
                self._protocol._drain_waiter = None
            raise

    @property
    def _is_held_back(self) -> bool:
        """Whether the peer has stopped reading; a ping or pong would wait behind the unread bytes."""
        return bool(self._protocol.writing_paused)

    async def send_eof(self) -> None:
        """Answer the peer's open requests with errors; finish once the peer owes no answer."""
        await self._say_end(None)
        self._finish_if_settled()

    async def _say_end(self, reason: RelayError | None) -> None:
        if not self._sent_eof:
            self._sent_eof = True
            with contextlib.suppress(TimeoutError, EndpointBroken):
                async with asyncio.timeout(self._limits.close_grace):
                    await self._write(self._settlement.we_end(reason))

    # Receiving.

    async def _read(self) -> None:
        failure: EndpointBroken | None = None
        try:
            failure = await self._read_to_end()
        except EndpointBroken as exc:
            failure = exc
        except _FAILURES as exc:
            failure = EndpointBroken(f"{self.name}: {_describe(exc)}")
        finally:
            self._end(failure)

    async def _keep_pace(self) -> None:
        """Read no faster than the peer may send."""
        while self.pace is not None and (seconds := self.pace()) > 0:  # noqa: ASYNC110 - a clock, no event
            await asyncio.sleep(seconds)

    async def _read_to_end(self) -> EndpointBroken | None:
        """Take messages until the connection ends; return the failure, or None after an orderly end."""
        while True:
            message = await self._socket.receive()
            self._heard()
            if message.type is WSMsgType.BINARY and isinstance(self._socket, MaskedSocket):
                message = self._socket.large_for(message)
            kind, data = message.type, message.data
            if kind is WSMsgType.TEXT:
                if self.pace is not None:
                    await self._keep_pace()
                if not is_utf8(data):
                    await self._socket.close(code=_INVALID_TEXT)
                    return self._closed_with(_INVALID_TEXT, "a message that is not UTF-8")
                await self._take(data)
            elif kind is WSMsgType.BINARY:
                await self._socket.close(code=_BINARY)
                return self._closed_with(_BINARY, "a binary message; each frame is a text message")
            elif kind is WSMsgType.PING:
                if not self._is_held_back:
                    await self._socket.pong(data)
            elif kind is WSMsgType.CLOSE:
                code = int(data or 0)
                return None if code in _ORDERLY else self._closed_with(code, str(message.extra or ""))
            elif kind is WSMsgType.ERROR:
                code = data.code if isinstance(data, aiohttp.WebSocketError) else _LOST
                limit = self._limits.max_frame_bytes
                is_large = code == _TOO_BIG
                said = size_fault(limit + 1, limit, "a message", is_cut=True) if is_large else _describe(data)
                return self._closed_with(code, said)
            elif kind is not WSMsgType.PONG:  # closed by this side, or lost without a close frame
                return None if self._is_closing else self._closed_with(_LOST, "the connection was lost")

    def _write_soon(self, frame: Frame) -> None:
        self._tasks.spawn(self._write_quietly(frame), name=f"{self.name}: last resort")

    async def _write_quietly(self, frame: Frame) -> None:
        with contextlib.suppress(EndpointBroken):
            await self._write((frame,))

    @property
    def last_used(self) -> float:
        """The time of the peer's last message, by the monotonic clock."""
        return self._last_used

    async def _take(self, data: bytes) -> None:
        self._last_used = monotonic()
        limit = self._limits.max_frame_bytes
        data = without_bom(data)
        piece = Frame(data) if len(data) <= limit else Oversized(data[:KEPT], data[-KEPT:], len(data))
        if isinstance(piece, Frame) and len(data) > LARGE:
            await read_in_turn(piece)
        if self._stranger is not None:
            self._take_from_stranger(self._stranger, piece)
        onward, back = self._settlement.take((piece,))
        self._inbox.put(onward)
        if back:
            await self._write(back)
        if self._sent_eof:
            self._finish_if_settled()
        if self._inbox.is_paused:
            await self._inbox.wait_for_room()

    def _take_from_stranger(self, socket: MaskedSocket, piece: Frame | Oversized) -> None:
        if isinstance(piece, Oversized) or piece.head.kind is Kind.INVALID:
            socket.expect_message()
            return
        self._admit(socket)

    def _admit(self, socket: MaskedSocket) -> None:
        socket.vouch()
        self._stranger = None
        self._is_decided.set()
        self._stop_handshake()

    def _wait_for_message(self, socket: MaskedSocket, since: float) -> None:
        """Limit how long a client may send nothing (as an idle connection) or send one message (as a handshake)."""
        limits, begun = self._limits, socket.begun_at
        allowed = max(limits.handshake, limits.idle_connection) if begun is None else limits.handshake
        left = (since if begun is None else begun) + allowed - monotonic()
        if left <= 0:
            self._break(EndpointBroken(f"{self.name}: has sent no message within {allowed:g} s"))
            return
        loop = asyncio.get_running_loop()
        self._handshake = loop.call_later(min(left, limits.handshake), self._wait_for_message, socket, since)

    def _stop_handshake(self) -> None:
        if self._handshake is not None:
            self._handshake.cancel()
            self._handshake = None

    def _closed_with(self, code: int, why: str) -> EndpointBroken:
        printable = "".join(c if c.isprintable() else " " for c in why)
        return EndpointBroken(f"{self.name}: closed with code {code}" + (f": {printable}" if printable else ""))

    def _heard(self) -> None:
        self._silent_since = None

    async def _keep_alive(self) -> None:
        """Ping a silent peer, and end the connection if it stays silent for ``limits.stall`` seconds."""
        loop = asyncio.get_running_loop()
        interval = self._limits.keep_alive
        while not self._inbox.is_finished:
            await asyncio.sleep(min(interval, self._limits.stall / 2))
            if self._inbox.is_paused:
                self._heard()  # the peer may be sending; this side does not read
                continue
            if self._silent_since is not None and loop.time() - self._silent_since >= self._limits.stall:
                self._break(EndpointBroken(f"{self.name}: has answered no ping for {self._limits.stall:g} s"))
                continue
            # Count from the first ping, not from the last message: a suspended relay has sent no ping meanwhile.
            self._silent_since = self._silent_since or loop.time()
            if not self._is_held_back:
                with contextlib.suppress(*_FAILURES):
                    await self._socket.ping()

    # Ends.

    def _end(self, failure: EndpointBroken | None, *, reason: RelayError | None = None) -> None:
        """Take the peer's end: requests to it that are still open get errors."""
        self._stop_handshake()
        self._failure = self._failure or failure
        self._inbox.put(self._settlement.peer_ended(failure or reason))
        self._inbox.finish(failure)
        self._is_decided.set()

    def _break(self, failure: EndpointBroken) -> None:
        """End and abort a connection that has failed."""
        self._end(failure)
        self._transport.abort()

    async def aclose(self, reason: RelayError | None = None) -> None:
        """Answer every open request with an error, and do the close handshake for at most ``close_grace`` seconds."""
        if self._is_closing:
            return
        self._is_closing = True
        self._end(None, reason=reason)
        try:
            await self._say_end(reason)
            with contextlib.suppress(TimeoutError, *_FAILURES):
                async with asyncio.timeout(self._limits.close_grace):
                    await self._socket.close(code=self._close_code(reason))
        finally:
            self._transport.abort()
            try:
                await self._tasks.aclose()
                if self._session is not None:
                    await self._session.close()
            finally:
                self._closed.set()

    async def end_access(self) -> None:
        """Close with the code of a broken policy, because the client's login has ended."""
        self._is_unadmitted = True
        await self.aclose(EndpointClosed("the login has ended"))

    def _close_code(self, reason: RelayError | None) -> int:
        if self._is_unadmitted:
            return _POLICY
        if reason is None:
            return 1000
        if self._peer_serves or isinstance(reason, EndpointClosed):
            return _GOING_AWAY
        return _INTERNAL_ERROR

    async def serve(self) -> web.WebSocketResponse[Literal[False]]:
        """Wait in aiohttp's handler until the endpoint is closed; return what the handler must return.

        aiohttp cancels this when the client has gone. The endpoint is then broken, and its owner must still close it.
        """
        assert isinstance(self._socket, web.WebSocketResponse), "an accepted WebSocket"
        try:
            await self._closed.wait()
        finally:
            if not self._closed.is_set():
                self._break(self._closed_with(_LOST, "the connection was lost"))
        return self._socket


async def accept_websocket(
    request: web.BaseRequest,
    limits: Limits = DEFAULT_LIMITS,
    *,
    name: str | None = None,
    strangers: Arrivals | None = None,
    refusals: RefusalLog | None = None,
) -> WebSocketEndpoint:
    """Answer an upgrade and return the endpoint; the handler then does ``return await endpoint.serve()``.

    The gate has admitted the request. Until its first frame the client shares the memory of ``strangers``.
    ``refusals`` logs its faults. Raises ConnectionError if the client has gone.
    """
    request = _with_one_list(request)
    options: dict[str, Any] = {
        "protocols": (SUBPROTOCOL,),
        "autoping": False,
        "compress": False,
        "max_msg_size": limits.max_frame_bytes + _SLACK,
        "timeout": limits.close_grace,
        "decode_text": False,
    }
    socket: web.WebSocketResponse[Any]
    if aiohttp_private.has("websocket"):
        socket = MaskedSocket(strangers=strangers, **options)
    else:
        socket = web.WebSocketResponse(**options)
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client has gone")
    detect_dead_peer(transport.get_extra_info("socket"), limits.stall)
    await socket.prepare(request)
    bytewise = cast("web.WebSocketResponse[Literal[False]]", socket)  # decode_text makes it so, which mypy cannot see
    endpoint = WebSocketEndpoint(
        name or f"websocket {request.remote}", bytewise, transport, limits, peer_serves=False, refusals=refusals
    )
    endpoint.begin()
    return endpoint


def _with_one_list(request: web.BaseRequest) -> web.BaseRequest:
    """Return a request with its subprotocols on one line, because aiohttp reads only the first line."""
    headers = CIMultiDict(request.headers)
    if len(headers.getall(_PROTOCOLS, ())) < 2:
        return request
    headers[_PROTOCOLS] = listed(request.headers, _PROTOCOLS) or ""
    return request.clone(headers=headers)


async def dial_websocket(url: str, options: DiallingOptions = DEFAULT_DIALLING) -> WebSocketEndpoint:
    """Connect to ``ws://host/path`` or ``wss://host/path`` with ``options``, without following redirects.

    Raises ConfigError for any other address, and for one that the guard in ``options`` refuses. Raises
    EndpointUnavailable if no WebSocket opens within ``limits.connect`` seconds, or the login fails.
    """
    login, _ = options.logins_for(url)
    if login is None:
        return await _dial_once(url, options, {})
    tries = login.tries()
    while True:
        try:
            return await _dial_once(url, options, await tries.headers())
        except UpgradeRefused as exc:
            if not await tries.may_send_again(exc.status, exc.headers):
                raise


async def _dial_once(url: str, options: DiallingOptions, login_headers: Mapping[str, str]) -> WebSocketEndpoint:
    limits, guard, (login, middleware) = options.limits, options.guard, options.logins_for(url)
    headers = {"User-Agent": "mcp-relay", **options.headers, **own_headers(), **login_headers}
    address, sent = parse_url(url, headers, ("ws", "wss"))
    if guard is not None:
        guard.check_url(address)
    name = shown_address(str(address))
    own = next((value for header, value in sent.items() if header.lower() == "cookie"), "")
    # Only for the handshake, which a login may send twice; the connection after it has no headers.
    jar = CookieJar(address.raw_host or "", is_secure=address.scheme == "wss", own=own)
    proxy = proxy_for(address, guard)
    if proxy is not None:
        sent.update(proxy.headers_for(address))
        if address.scheme == "ws":  # a proxy that reads the request knows only http, and until the upgrade it is http
            address = address.with_scheme("http")

    def secrets() -> list[str]:
        of_login = [one for part in (login, middleware) if part is not None for one in part.secrets]
        known = {*secrets_in(sent), *jar.secrets, *of_login}
        return maskable(known)

    is_tls = address.scheme == "wss" or (proxy is not None and proxy.url.scheme == "https")
    session = aiohttp.ClientSession(
        connector=new_connector(options.tls, is_tls=is_tls, guard=guard),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        middlewares=(
            explaining(name, secrets, limits.max_error_body),
            *([] if middleware is None else [middleware]),
            keeping(jar),
        ),
    )
    if not aiohttp_private.has("websocket"):
        await session.close()
        raise EndpointUnavailable(f"{name}: aiohttp {aiohttp.__version__} is not known well enough to dial WebSocket")
    try:
        async with asyncio.timeout(limits.connect):
            socket = await session.ws_connect(
                address,
                protocols=(SUBPROTOCOL,),
                headers=sent,
                autoping=False,
                compress=0,
                max_msg_size=limits.max_frame_bytes + _SLACK,
                timeout=aiohttp.ClientWSTimeout(ws_close=limits.close_grace),
                decode_text=False,
                **({} if proxy is None else proxy.request_arguments(address)),
            )
    except BaseException as exc:
        await session.close()
        if isinstance(exc, aiohttp.WSServerHandshakeError):
            raise EndpointUnavailable(f"{name}: no WebSocket here: {exc.message}") from exc
        if isinstance(exc, TimeoutError):
            way = "" if proxy is None else f" through the proxy {proxy}"
            raise EndpointUnavailable(f"{name}: cannot connect{way}: no answer within {limits.connect:g} s") from exc
        if isinstance(exc, aiohttp.ClientError | OSError | ValueError):
            said = describe_unreached(exc, proxy, plain="ws://")
            raise EndpointUnavailable(f"{name}: {said}") from exc
        raise
    transport = socket._response.connection.transport if socket._response.connection is not None else None
    if transport is None:
        await session.close()
        raise EndpointUnavailable(f"{name}: closed the connection at once")
    endpoint = WebSocketEndpoint(name, socket, transport, limits, peer_serves=True, session=session)
    endpoint.begin()
    return endpoint


def _describe(exc: object) -> str:
    return describe_failure(exc) if isinstance(exc, Exception) else str(exc)
