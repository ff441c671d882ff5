"""Dial TCP, TLS and Unix sockets; frames are lines, as on stdio, both ways over one connection.

MCP 2026-07-28, Transports, "Custom Transports". ``listener.py`` also yields a ``SocketEndpoint`` for each peer that
connects to the relay.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Literal, cast
from urllib.parse import urlsplit

import aiohappyeyeballs

from relay.addresses import fault_of_url, shown_address
from relay.endpoints.core.binding import LOOPBACK
from relay.endpoints.core.byte_stream import FrameReader, FrameWriter
from relay.endpoints.core.connected import ConnectedEndpoint
from relay.endpoints.core.hops import note_dialled
from relay.endpoints.core.keepalive import SERVER_SILENCE, detect_dead_peer
from relay.endpoints.core.settlement import Settlement
from relay.endpoints.core.tls import default_context, describe_tls
from relay.errors import ConfigError, EndpointBroken, EndpointUnavailable, RelayError
from relay.frames.frame import Frame
from relay.frames.lines import Oversized
from relay.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from relay.endpoints.core.refusal_log import RefusalLog

__all__ = ["SocketEndpoint", "TcpAddress", "UnixAddress", "dial", "parse_address"]

_NEXT_ADDRESS = 0.25  # RFC 8305: seconds for one address of a name before the relay tries the next one as well


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """``tcp://host:port``, or ``tls://host:port``."""

    host: str
    port: int
    is_tls: bool = False

    def __str__(self) -> str:
        """Return the address as a user writes it."""
        scheme = "tls" if self.is_tls else "tcp"
        return f"{scheme}://[{self.host}]:{self.port}" if ":" in self.host else f"{scheme}://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """``unix:/path``."""

    path: str

    @property
    def absolute(self) -> str:
        """The absolute path."""
        return os.path.abspath(self.path)

    def __str__(self) -> str:
        """Return the address as a user writes it."""
        return f"unix:{self.path}"


def parse_address(spec: str) -> TcpAddress | UnixAddress:
    """Parse ``tcp://host:port``, ``tls://host:port`` or ``unix:/path``; raise ConfigError for anything else."""
    if spec[:5].lower() == "unix:":
        path = spec[5:]
        if path.startswith("//"):
            path = path[2:]
        if not path or "\0" in path:
            raise ConfigError(f"{spec!r} names no path; expected unix:/path/to/socket")
        return UnixAddress(path)
    try:
        parts = urlsplit(spec)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise ConfigError(
            f"{shown_address(spec)!r} is not an address: {fault_of_url(exc)}; expected tcp://host:port"
        ) from exc
    is_socket = parts.scheme in ("tcp", "tls") and host and port is not None
    if not is_socket or parts.path.strip("/") or parts.query or "@" in parts.netloc:
        raise ConfigError(
            f"{shown_address(spec)!r} is not an address of the form tcp://host:port, tls://host:port or unix:/path"
        )
    assert host is not None and port is not None, "just seen"
    return TcpAddress(host, port, is_tls=parts.scheme == "tls")


class SocketReader(FrameReader):
    """The reading half of a connection, which passes frames through the settlement into the inbox."""

    passes: Literal["all", "messages", ""] = ""

    def __init__(self, name: str, limits: Limits, settlement: Settlement, writer: FrameWriter) -> None:
        """Use ``writer`` for frames that go back to the peer at once."""
        super().__init__(name, limits)
        self._settlement = settlement
        self._writer = writer
        self._discarding = False
        self.is_encrypted = False
        self.last_heard = monotonic()
        """The time of the peer's last bytes, by the monotonic clock."""
        self.has_spoken = False
        """Whether the peer has sent any byte."""
        self.ended = asyncio.Event()
        """Set once the peer has shut down its half, or the connection is lost."""
        self.after_frames: Callable[[], None] = lambda: None

    def data_received(self, data: bytes) -> None:
        """Take bytes from the connection, unless the reader discards them."""
        self.has_spoken = True
        if not self._discarding:
            self.last_heard = monotonic()
            super().data_received(data)
            self.after_frames()

    def accept(self, pieces: list[Frame | Oversized]) -> list[Frame]:
        """Return the frames to forward, and answer the others with errors."""
        try:
            onward, back = self._settlement.take(pieces)
            if back and self._writer.is_held_back:
                raise EndpointBroken(f"{self.name}: sends rejected frames and does not read the errors")
        except EndpointBroken as exc:
            self.fail(exc)
            return []
        for frame in back:
            self._writer.write_soon(frame)
        return list(onward)

    def deliver_late(self) -> None:
        """Deliver now the frames of a later turn, unless the reader discards them."""
        if self._discarding:
            self._late.clear()
        elif self._late:
            super().deliver_late()
            self.after_frames()

    def discard(self) -> None:
        """Read on and drop the bytes: closing with unread bytes resets the connection and loses our last frames."""
        self._discarding = True
        self.resume()

    def fail(self, failure: EndpointBroken) -> None:
        """Abort the connection, because the peer breaks the rules."""
        self.finish(failure)
        if self._transport is not None:
            cast(asyncio.WriteTransport, self._transport).abort()

    def finish(self, failure: RelayError | None, *, reason: RelayError | None = None) -> None:
        """Take the peer's end: requests to it that are still open get errors with ``failure`` or ``reason``."""
        self.deliver_late()
        self.inbox.put(self._settlement.peer_ended(failure or reason))
        self.inbox.finish(failure)

    def eof_received(self) -> bool:
        """Take the peer's half-close; our half stays open, except with TLS, which has no half-close."""
        if not self._discarding:
            self._deliver_last()
        self.finish(None)
        self.ended.set()
        return not self.is_encrypted

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the connection, which is broken unless one side had ended it in order."""
        self._splitter.forget()
        self.finish(EndpointBroken(f"{self.name}: {describe(exc)}") if exc else None)
        self.ended.set()


class SocketWriter(FrameWriter):
    """The writing half, which can end before the reading half."""

    def end_transport(self, transport: asyncio.WriteTransport) -> None:
        """Shut down the writing half after the buffered bytes; with TLS, do nothing yet."""
        if transport.can_write_eof():
            try:
                transport.write_eof()
            except OSError:  # asyncio raises this if the peer has reset the connection before asyncio reports it
                transport.abort()


class SocketProtocol(asyncio.Protocol):
    """The asyncio protocol of one connection, which passes its events to both halves."""

    def __init__(self, name: str, limits: Limits, *, peer_serves: bool, refusals: RefusalLog | None = None) -> None:
        """Make both halves and their settlement."""
        self.settlement = Settlement(name, limits, peer_serves=peer_serves, refusals=refusals)
        self.writer = SocketWriter(name, limits)
        self.reader = self.make_reader(name, limits)
        self.transport: asyncio.Transport | None = None
        self.max_silence = SERVER_SILENCE
        self.forget: Callable[[], None] = lambda: None
        """Called when a dialled connection ends."""

    def make_reader(self, name: str, limits: Limits) -> SocketReader:
        """Make the reading half."""
        return SocketReader(name, limits, self.settlement, self.writer)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Attach both halves."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's transport does not declare the type
        detect_dead_peer(transport.get_extra_info("socket"), self.max_silence)
        self.reader.is_encrypted = transport.get_extra_info("ssl_object") is not None
        self.reader.connection_made(transport)
        self.writer.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass bytes to the reading half."""
        self.reader.data_received(data)

    def eof_received(self) -> bool:
        """Pass the peer's half-close to the reading half."""
        return self.reader.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell both halves of the end."""
        self.forget()
        self.writer.connection_lost(exc)
        self.reader.connection_lost(exc)

    def pause_writing(self) -> None:
        """Make senders wait."""
        self.writer.pause_writing()

    def resume_writing(self) -> None:
        """Let senders go on."""
        self.writer.resume_writing()


class SocketEndpoint(ConnectedEndpoint):
    """A peer behind a TCP connection or a Unix socket, made by ``dial`` or by a listener."""

    def __init__(self, protocol: SocketProtocol, limits: Limits) -> None:
        """Take over a connection that has just been made."""
        super().__init__(protocol.reader.name, limits, protocol.reader.inbox, protocol.settlement)
        self._protocol = protocol
        self._reader = protocol.reader
        self._writer = protocol.writer
        self._closed = False

    @property
    def last_used(self) -> float:
        """The time of the peer's last bytes, by the monotonic clock."""
        return self._reader.last_heard

    @property
    def is_unheard(self) -> bool:
        """Whether the peer is connected and has never sent a byte."""
        return not self._reader.has_spoken and not self._inbox.is_finished

    @property
    def owes_answers(self) -> bool:
        """Whether the peer has requests that it has not answered."""
        return not self._settlement.is_settled

    async def send(self, frames: Sequence[Frame]) -> None:
        """Write frames as lines; wait while the peer does not read. Raises EndpointBroken and EndpointClosed."""
        self._writer.check()
        onward, back = self._settlement.hand_over(frames)
        self._inbox.put(back)
        if onward:
            await self._writer.send(onward)

    def send_at_once(self, frames: Sequence[Frame]) -> bool:
        """Write frames as lines, unless that would wait or fail; return whether it did."""
        if not self._writer.can_send:
            return False
        try:
            onward, back = self._settlement.hand_over(frames)
        except EndpointBroken:
            return False  # ``send`` meets the same failure and raises it
        self._inbox.put(back)
        if onward:
            self._writer.write_at_once(onward)
        return True

    def _write_soon(self, frame: Frame) -> None:
        self._writer.write_soon(frame)

    async def send_eof(self) -> None:
        """Answer the peer's open requests with errors and shut down our half; its late answers still arrive."""
        self._say_end(None)
        if self._reader.is_encrypted:
            # TLS has no half-close, so this side finishes once the peer owes no answer.
            self._reader.after_frames = self._finish_if_settled
            self._finish_if_settled()

    def _say_end(self, reason: RelayError | None) -> None:
        if not self._sent_eof:
            self._sent_eof = True
            for frame in self._settlement.we_end(reason):
                self._writer.write_soon(frame)
            self._writer.send_eof()

    async def aclose(self, reason: RelayError | None = None) -> None:
        """Answer every open request with an error, flush for at most ``close_grace`` seconds, and close."""
        if self._closed:
            return
        self._closed = True
        self._reader.finish(None, reason=reason)
        self._say_end(reason)
        transport = self._protocol.transport
        assert transport is not None, "an endpoint is made of a connection"
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.close_grace):
                    if not self._reader.is_encrypted:
                        self._reader.discard()
                        await self._reader.ended.wait()
                    transport.close()
                    await self._writer.lost.wait()
        finally:
            transport.abort()


async def dial(
    address: str | TcpAddress | UnixAddress,
    *,
    ssl_context: ssl.SSLContext | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> SocketEndpoint:
    """Connect to ``tcp://host:port``, ``tls://host:port`` (with ``ssl_context``, if given) or ``unix:/path``.

    Raises ConfigError for any other address. Raises EndpointUnavailable if no connection succeeds within
    ``limits.connect`` seconds.
    """
    if isinstance(address, str):
        address = parse_address(address)
    name = str(address)
    try:
        async with asyncio.timeout(limits.connect):
            if isinstance(address, UnixAddress):
                protocol = await _open_unix(address, limits)
            else:
                context = (ssl_context or default_context()) if address.is_tls else None
                protocol = await _open_tcp(address, context, limits)
    except TimeoutError as exc:
        raise EndpointUnavailable(f"{name}: cannot connect: no answer within {limits.connect:g} s") from exc
    except (OSError, UnicodeError) as exc:
        raise EndpointUnavailable(f"{name}: cannot connect: {describe(exc)}") from exc
    # No await between the connection and here: a cancellation in between would leak the connection.
    return SocketEndpoint(protocol, limits)


async def _open_unix(address: UnixAddress, limits: Limits) -> SocketProtocol:
    if not hasattr(socket, "AF_UNIX"):
        raise ConfigError(f"{address}: there are no Unix sockets on this system")
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_unix_connection(
        lambda: SocketProtocol(str(address), limits, peer_serves=True), address.path
    )
    protocol.forget = note_dialled(address.absolute)
    return protocol


async def _open_tcp(address: TcpAddress, ssl_context: ssl.SSLContext | None, limits: Limits) -> SocketProtocol:
    loop = asyncio.get_running_loop()
    is_local = address.host.rstrip(".").lower() == "localhost"
    found = [
        info for host in (LOOPBACK if is_local else (address.host,)) for info in await _resolve(host, address.port)
    ]
    sock = await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=_NEXT_ADDRESS, loop=loop)
    local = sock.getsockname()[:2]
    try:
        _, protocol = await loop.create_connection(
            lambda: SocketProtocol(str(address), limits, peer_serves=True),
            sock=sock,
            ssl=ssl_context,
            server_hostname=None if ssl_context is None else address.host,
            ssl_shutdown_timeout=None if ssl_context is None else limits.close_grace,
        )
    except BaseException:
        sock.close()
        raise
    protocol.forget = note_dialled(local)
    return protocol


async def _resolve(host: str, port: int) -> Sequence[aiohappyeyeballs.AddrInfoType]:
    loop = asyncio.get_running_loop()
    return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def describe(exc: Exception) -> str:
    """Return a sentence for a person that says what went wrong with a connection."""
    if isinstance(exc, ssl.SSLError):
        return describe_tls(exc, "tcp://")
    if isinstance(exc, socket.gaierror):
        return "no address is known for this host"
    if isinstance(exc, OSError) and exc.errno:
        return os.strerror(exc.errno)
    return str(exc) or type(exc).__name__
