"""Listen on TCP and Unix sockets, and yield an endpoint for each peer whose first line is JSON-RPC.

Web pages reach TCP ports, and the relay must not execute a POST with JSON lines in its body. So it closes a connection
at once, and forwards nothing, if the first byte cannot begin JSON or the first line is not a JSON-RPC message. A later
line that is not JSON ends the connection, too. The relay then reads no further, but still answers the open requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import stat
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

import msgspec

from relay.endpoints.base import ANONYMOUS
from relay.endpoints.core.arrivals import Arrival
from relay.endpoints.core.binding import EVERYWHERE, addresses_of, bind
from relay.endpoints.core.bounds import Bounds
from relay.endpoints.core.hops import comes_from_itself
from relay.endpoints.core.refusal_log import RefusalLog
from relay.endpoints.http.listening import DEFAULT_LISTENING, ListeningOptions
from relay.endpoints.socket.tcp import SocketEndpoint, SocketProtocol, SocketReader, TcpAddress, UnixAddress
from relay.errors import ConfigError, EndpointClosed
from relay.frames import replies
from relay.frames.envelope import salvage_head
from relay.frames.faults import message_fault
from relay.frames.frame import Frame, each_message
from relay.frames.head import Kind
from relay.frames.lines import KEPT, Oversized
from relay.limits import Limits
from relay.observe.hub import Clients

__all__ = ["SocketListener", "TcpListener", "UnixListener"]

logger = logging.getLogger("relay")

_BACKLOG = 1024
_CLOSED = "the listener has closed"
_LOCK_TRIES = 100
_LOCK_WAIT = 0.01
_BLANK = b" \t\r\n"
_MOST_BLANK = 4096  # bytes before the first line; a peer that sends more has nothing to say
_OPENINGS = b"{[\xef"  # an object, a batch, or the byte order mark that Windows programs write before either


class _StrangerReader(SocketReader):
    """Reads from a peer that has not yet proven that it speaks JSON-RPC."""

    on_proven: Callable[[], str | None]
    """Returns why the listener rejects a peer that has proven itself; None if it accepts the peer."""
    on_refused: Callable[[str], None]
    on_said: Callable[[str], None]
    arrival: Arrival
    _blank = 0
    _has_begun = False
    _is_proven = False
    _is_refused = False

    def data_received(self, data: bytes) -> None:
        """Check the first byte at once, because TLS and HTTP may never send a newline."""
        if self._is_refused:
            return
        if not self._has_begun:
            text = data.lstrip(_BLANK)
            self._blank += len(data) - len(text)
            if self._blank > _MOST_BLANK:
                self._refuse(f"{self._blank} blank bytes")
                return
            if text and text[:1] not in _OPENINGS:
                self._refuse("TLS" if text[:1] == b"\x16" else "HTTP or the like")
                return
            self._has_begun = bool(text)
        super().data_received(data)
        if self._is_stranger and not self.arrival.grow(len(data)):
            self.pause()

    def deliver_late(self) -> None:
        """Deliver a large first line, unless the connection is closing and its peer no longer accepted."""
        if self._is_stranger and (self._transport is None or self._transport.is_closing()):
            self._late.clear()
        super().deliver_late()

    @property
    def _is_stranger(self) -> bool:
        return not (self._is_proven or self._is_refused)

    def accept(self, pieces: list[Frame | Oversized]) -> list[Frame]:
        """Return the frames to forward, once the first line has proven the peer; that line is among them."""
        if not self._is_proven:
            if self._is_refused:
                return []
            first = pieces[0]
            if isinstance(first, Oversized) or first.head.kind is Kind.INVALID:
                self._refuse("an endless first line" if isinstance(first, Oversized) else first.head.fault)
                return []
            if not _is_of_2_0(first):
                self._refuse_politely(first, message_fault('no "jsonrpc":"2.0"'), replies.INVALID_REQUEST)
                return []
            if (fault := self.on_proven()) is not None:
                self._refuse_politely(first, fault, replies.REFUSED)
                return []
            self._is_proven = True
        for number, piece in enumerate(pieces):
            if isinstance(piece, Frame) and piece.head.kind is Kind.INVALID and _is_garbage(piece):
                self.on_said(f"a line of it is {message_fault(piece.head.fault)}")
                return self._end_with(pieces[: number + 1])
        return super().accept(pieces)

    def _end_with(self, pieces: list[Frame | Oversized]) -> list[Frame]:
        """Take the last lines of a peer that does not send JSON, and read no more; open requests still get answers."""
        self.inbox.put(super().accept(pieces))
        self.discard()
        self.finish(None)
        return []

    def _refuse_politely(self, first: Frame, fault: str, code: int) -> None:
        """Tell a JSON-RPC peer why the listener rejects it, then close: a wrong version, or one connection too many."""
        self._is_refused = True
        self.arrival.end()
        asked = [one.id for one in first.head.messages if one.kind is Kind.REQUEST]
        for request_id in asked or [first.head.id]:
            self._writer.write_soon(replies.error(request_id, code, fault, delivered="no"))
        self.on_said(f"its first line is {fault}" if code == replies.INVALID_REQUEST else fault)
        assert self._transport is not None, "it has brought a line"
        self._transport.close()

    def _refuse(self, what: str) -> None:
        self._is_refused = True
        self.on_refused(f"its first line is not JSON-RPC ({what})")


def _is_garbage(line: Frame) -> bool:
    """Tell whether a line is neither JSON nor a message with a single fault in it, such as NaN."""
    head = line.head
    return not head.is_json and salvage_head(line.raw, line.raw[-KEPT:]).kind is Kind.INVALID


class _Version(msgspec.Struct):
    jsonrpc: Literal["2.0"]


def _is_of_2_0(first: Frame) -> bool:
    try:
        for message in each_message((first,)):
            msgspec.json.decode(message.raw.removeprefix(b"\xef\xbb\xbf"), type=_Version)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


class _StrangerProtocol(SocketProtocol):
    """An accepted connection, which becomes an endpoint with its first frame."""

    def __init__(self, listener: SocketListener, name: str, limits: Limits) -> None:
        self._listener = listener
        super().__init__(name, limits, peer_serves=False, refusals=listener.refusals)
        self._limits = limits
        self.max_silence = limits.stall
        self.endpoint = SocketEndpoint(self, limits)
        self._timer: asyncio.TimerHandle | None = None
        self.is_proven = False

    def make_reader(self, name: str, limits: Limits) -> SocketReader:
        reader = _StrangerReader(name, limits, self.settlement, self.writer)
        reader.on_proven = self._proven
        reader.on_refused = self.refuse
        reader.on_said = self._say
        reader.arrival = self._arrival = self._listener.strangers.begin(None)
        self._arrival.on_room = reader.resume
        self._arrival.on_refused = lambda: self.refuse("its first line stalled while others waited for room")
        return reader

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._limits.handshake, self.refuse, "it has sent no line")
        self._listener.connected(self)

    def _proven(self) -> str | None:
        assert self.transport is not None, "it has brought a line"
        if self._listener.leads_to_itself(self.transport):
            return "the relay points at itself: its server has this address"
        places = self._listener.places
        if places.is_full:
            return places.refusal
        places.take(ANONYMOUS)
        self.is_proven = True
        self._arrival.end()
        self._stop_timer()
        self._listener.offer(self.endpoint)
        return None

    def refuse(self, why: str) -> None:
        """Close the connection at once, and log why."""
        self._say(why)
        assert self.transport is not None, "only a connection can be refused"
        self.transport.abort()

    def _say(self, why: str) -> None:
        if why == _CLOSED:
            logger.info("%s: closed: %s", self.endpoint.name, why)
            return
        self._listener.refusals.note("closed", why.partition(":")[0], f"{self.endpoint.name}: closed: {why}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._arrival.end()
        if self.is_proven:
            self._listener.places.free(ANONYMOUS)
        self._listener.disconnected(self)
        super().connection_lost(exc)

    def eof_received(self) -> bool:
        kept = super().eof_received()
        return kept and self.is_proven  # a peer that leaves without a line has no open request

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class SocketListener:
    """The common part of both listeners: a limit on connections and a queue of proven peers."""

    def __init__(
        self,
        name: str,
        limits: Limits,
        bounds: Bounds | None,
        owner: object,
        clients: Clients[Any] | None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Use ``TcpListener`` or ``UnixListener``."""
        self._owner = owner
        self._clients = clients
        self._path = ""
        bounds = bounds or Bounds.of(limits)
        self.places = bounds.places
        self.strangers = bounds.strangers
        self.name = name
        self._limits = limits
        self._ssl = tls
        self._servers: list[asyncio.Server] = []
        self._connections: set[_StrangerProtocol] = set()
        self._offered: asyncio.Queue[SocketEndpoint | None] = asyncio.Queue()
        self._is_closed = False
        self._count = 0
        self.refusals = RefusalLog()

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._connections)

    async def __aiter__(self) -> AsyncIterator[SocketEndpoint]:
        """Yield each peer once its first frame has arrived, until the listener closes."""
        while (endpoint := await self._offered.get()) is not None:
            yield endpoint

    async def _serve(self, sock: socket.socket) -> None:
        """Accept connections on a bound socket."""
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        make = self._make_protocol
        if not isinstance(sock.getsockname(), tuple):
            self._servers.append(await loop.create_unix_server(make, sock=sock, backlog=_BACKLOG))
            return
        grace, handshake = self._limits.close_grace, self._limits.connect
        is_tls = self._ssl is not None
        server = await loop.create_server(
            make,
            sock=sock,
            backlog=_BACKLOG,
            ssl=self._ssl,
            ssl_handshake_timeout=handshake if is_tls else None,
            ssl_shutdown_timeout=grace if is_tls else None,
        )
        self._servers.append(server)

    def _make_protocol(self) -> _StrangerProtocol:
        self._count += 1
        return _StrangerProtocol(self, f"{self.name} #{self._count}", self._limits)

    def connected(self, protocol: _StrangerProtocol) -> None:
        """Count a connection, or reject it if too many are open."""
        self._connections.add(protocol)
        if self._is_closed:
            protocol.refuse(_CLOSED)
        elif len(self._connections) > self._limits.max_connections:
            protocol.refuse(f"{self._limits.max_connections} connections are open; see max_connections")

    def disconnected(self, protocol: _StrangerProtocol) -> None:
        """Forget a connection."""
        self._connections.discard(protocol)

    def leads_to_itself(self, transport: asyncio.Transport) -> bool:
        """Tell whether this relay itself dialled the connection, on behalf of this listener's owner."""
        return self._owner is not None and comes_from_itself(transport, self._owner, self._path)

    def offer(self, endpoint: SocketEndpoint) -> None:
        """Queue a peer for the iteration, before its first frame is read."""
        if self._clients is not None:
            self._clients.add(endpoint)
        self._offered.put_nowait(endpoint)

    async def aclose(self) -> None:
        """Stop listening, and close the peers in the queue; endpoints that it has yielded stay open."""
        if self._is_closed:
            return
        self._is_closed = True
        for server in self._servers:
            server.close()
        for protocol in [one for one in self._connections if not one.is_proven]:
            protocol.refuse(_CLOSED)
        waiting: list[SocketEndpoint] = []
        while not self._offered.empty():
            endpoint = self._offered.get_nowait()
            if endpoint is not None:
                waiting.append(endpoint)
        self._offered.put_nowait(None)
        async with asyncio.TaskGroup() as group:
            for endpoint in waiting:
                group.create_task(endpoint.aclose(EndpointClosed("the relay is shutting down")))


class TcpListener(SocketListener):
    """Listens on ``host``:``port``; ``localhost`` means both loopback addresses."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        options: ListeningOptions = DEFAULT_LISTENING,
        *,
        bounds: Bounds | None = None,
        owner: object = None,
        clients: Clients[Any] | None = None,
    ) -> None:
        """Prepare to listen (port 0: a free port) with the limits of ``options`` and its TLS; ``start`` listens.

        Listeners may share ``bounds``. The listener rejects connections that ``owner`` itself has dialled. It adds each
        peer to ``clients``.
        """
        name = str(TcpAddress(host, port, options.tls is not None))
        super().__init__(name, options.limits, bounds, owner, clients, options.tls)
        self._host = host
        self._port = port
        self.addresses: list[tuple[str, int]] = []

    @property
    def url(self) -> str:
        """The address as a client on this machine writes it."""
        host, port = self.addresses[0]
        return str(TcpAddress(EVERYWHERE.get(host, host), port, self._ssl is not None))

    async def start(self) -> None:
        """Bind and accept connections; raise ConfigError if the address is not available."""
        bound: list[socket.socket] = []
        try:
            bound = await bind(self._host, self._port)
            while bound:
                addresses = addresses_of(bound[0])
                await self._serve(bound[0])
                bound.pop(0)
                self.addresses += addresses
        except (OSError, OverflowError, UnicodeError) as exc:
            await self.aclose()
            reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
            raise ConfigError(f"cannot listen on {self.name}: {reason}") from exc
        finally:
            for sock in bound:
                sock.close()
        self.name = self.url


class UnixListener(SocketListener):
    """Listens on a Unix socket that only this user may connect to, and removes its file at the end."""

    def __init__(
        self,
        path: str,
        options: ListeningOptions = DEFAULT_LISTENING,
        *,
        bounds: Bounds | None = None,
        owner: object = None,
        clients: Clients[Any] | None = None,
    ) -> None:
        """Prepare to listen, without TLS; ``start`` listens. The other arguments are those of ``TcpListener``."""
        super().__init__(str(UnixAddress(path)), options.limits, bounds, owner, clients)
        self._path = os.path.abspath(path)
        self._identity: tuple[int, int] | None = None
        self.addresses: list[str] = []

    @property
    def url(self) -> str:
        """The address as a client on this machine writes it."""
        return str(UnixAddress(self._path))

    async def start(self) -> None:
        """Bind and accept connections; replace the file of a relay that was killed.

        Raises ConfigError if another process listens there, if the path is not a socket, or if the bind fails.
        """
        if not hasattr(socket, "AF_UNIX"):
            raise ConfigError(f"{self.name}: there are no Unix sockets on this system")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            async with _only_one_in(os.path.dirname(self._path)):
                self._remove_stale()
                before = os.umask(0o177)  # no other user may connect, not even for a moment
                try:
                    sock.bind(self._path)
                finally:
                    os.umask(before)
                made = os.lstat(self._path)
                self._identity = (made.st_dev, made.st_ino)
                sock.listen(_BACKLOG)
            await self._serve(sock)
        except OSError as exc:
            sock.close()
            await self.aclose()
            raise ConfigError(f"cannot listen on {self.name}: {exc.strerror or exc}") from exc
        except BaseException:
            sock.close()
            self._remove_own()
            raise
        self.addresses.append(self._path)

    def _remove_stale(self) -> None:
        try:
            found = os.lstat(self._path)
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(found.st_mode):
            raise ConfigError(f"cannot listen on {self.name}: the path exists and is no socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(self._path)
            except (ConnectionRefusedError, FileNotFoundError):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._path)
                return
            except BlockingIOError:
                pass  # its backlog is full, so the listener is alive
        raise ConfigError(f"cannot listen on {self.name}: another process listens there; end it, or take another path")

    async def aclose(self) -> None:
        """Stop listening and remove the file, unless another process has replaced it."""
        self._remove_own()
        await super().aclose()

    def _remove_own(self) -> None:
        identity, self._identity = self._identity, None
        with contextlib.suppress(OSError):
            found = os.lstat(self._path)
            if identity == (found.st_dev, found.st_ino):
                os.unlink(self._path)


@contextlib.asynccontextmanager
async def _only_one_in(directory: str) -> AsyncIterator[None]:
    """Let one relay at a time check a directory's sockets and make one: two could take each other's for stale."""
    import fcntl

    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for _ in range(
            _LOCK_TRIES
        ):  # then go on without the lock: a process that holds it for so long blocks it on purpose
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                await asyncio.sleep(_LOCK_WAIT)
        yield
    finally:
        os.close(lock)
