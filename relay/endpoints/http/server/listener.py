"""Listen for MCP clients over HTTP: Streamable HTTP and WebSocket at ``/mcp``, HTTP+SSE at ``/sse``, on one port.

The listener offers one server at the root, and named servers below ``/servers/NAME``. Each server has a mount with its
own sessions (mount.py). This module has the port: its connections, the paths, ``/status`` and ``/health``.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import quote

import orjson
from aiohttp import http_parser, web

from relay.auth.origin import OriginPolicy
from relay.endpoints.core.binding import EVERYWHERE, addresses_of, bind
from relay.endpoints.core.bounds import Bounds
from relay.endpoints.http.decisions import (
    Accept,
    Admission,
    BodyWanted,
    Decision,
    HandOn,
    Purpose,
    Refused,
    VerificationWanted,
)
from relay.endpoints.http.listening import DEFAULT_LISTENING, ListeningOptions
from relay.endpoints.http.media import JSON, listed
from relay.endpoints.http.paths import MCP, HttpPaths
from relay.endpoints.http.server.carrying import verify
from relay.endpoints.http.server.connections import ConnectionServer
from relay.endpoints.http.server.context import ListenerContext
from relay.endpoints.http.server.expect import holds_body_back
from relay.endpoints.http.server.fast_connection import FastConnection
from relay.endpoints.http.server.mount import AnyEndpoint, Mount, PerRequest
from relay.endpoints.http.server.routes import Routes
from relay.endpoints.http.server.sse_routes import SseRoutes
from relay.endpoints.http.server.streamable import Adopted, StreamableHttp
from relay.endpoints.http.views import HouseView, MountView, RequestHead
from relay.endpoints.http.walk import Walk
from relay.errors import ConfigError
from relay.mcp.headers import SESSION_ID
from relay.observe.hub import Hub
from relay.routing.sessions import Places

if TYPE_CHECKING:
    from relay.endpoints.http.client.aiohttp_dial import Dial

__all__ = ["HttpListener"]

logger = logging.getLogger("relay")

_SHOWN_NAMES = 20
_SHOWN_PATH = 100  # characters
_SAFE = "@!$'()*,:;=+&"  # characters that a segment of a path may hold unescaped


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Request(web.BaseRequest):
    @property
    def certificate(self) -> Mapping[str, Any] | None:
        """The certificate of the client, which has been verified; None without one."""
        found: Mapping[str, Any] | None = self.get_extra_info("peercert")
        return found

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        # aiohttp names itself and Python with their versions. Answers that aiohttp does not write have no such header.
        response.headers.popall("Server", None)


class _Door:
    """The handlers of the requests below one prefix."""

    def __init__(self, prefix: str, mount: Mount, paths: HttpPaths, house: HouseView) -> None:
        self.prefix = prefix
        """The prefix as it stands in a decoded path."""
        self.mount = mount
        self.streamable = StreamableHttp(mount, house)
        self.sse = SseRoutes(mount, paths)

    def knows(self, head: RequestHead) -> bool:
        """Tell whether a request belongs to one of the sessions here."""
        session_id = head.headers.get(SESSION_ID) or head.query.get("session_id")
        return session_id is not None and self.mount.sessions.find(session_id) is not None


class HttpListener:
    """An HTTP server that yields one endpoint for each session of the server at its root."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        options: ListeningOptions = DEFAULT_LISTENING,
        *,
        status: Callable[[], dict[str, object]] | None = None,
        per_request: PerRequest = "no",
        server: Dial | None = None,
        hub: Hub | None = None,
        has_root: bool = True,
        descriptor: int | None = None,
        bounds: Bounds | None = None,
        routes: Routes | None = None,
    ) -> None:
        """Listen on ``host``:``port`` (0: a free port) once ``start`` is called; ``status`` adds to ``/status``.

        ``descriptor`` is a socket that already listens, on that address or on a Unix socket.

        ``per_request``, ``server`` and ``hub`` apply to the mount at the root (see ``Mount``), if ``has_root``. Several
        listeners may share ``bounds``. ``routes`` serves other requests than those of MCP clients.
        """
        self._host = host
        self._port = port
        self._ssl = options.tls
        self._descriptor = descriptor
        self._limits = limits = options.limits
        policy = OriginPolicy(host, options.allowed_hosts, options.allowed_origins, options.exposed_headers)
        self._context = ListenerContext(
            limits, policy, bounds or Bounds.of(limits), options.login, options.rates, options.forward_headers
        )
        self.routes = routes
        if routes is not None:
            routes.attach(self._context)
        self._status = status or (dict)
        self._paths = options.paths
        self._doors: dict[str, _Door] = {}
        self._leaving: list[_Door] = []
        self._door_of: dict[Mount, _Door] = {}
        self._fast: dict[str, StreamableHttp] = {}
        self._root = self._open("", "", per_request=per_request, server=server, hub=hub) if has_root else None
        self._servers: list[asyncio.Server] = []
        self._http: ConnectionServer | None = None
        self._housekeeping: asyncio.Task[None] | None = None
        self.addresses: list[tuple[str, int]] = []
        self.is_draining = False
        """Whether the listener accepts no new work."""
        self.is_leaving = False
        """Whether ``/health`` answers 503 while the listener still serves, because the relay is about to drain."""

    # Which servers the listener offers.

    def mount(
        self, name: str, *, per_request: PerRequest = "no", server: Dial | None = None, hub: Hub | None = None
    ) -> Mount:
        """Offer a server below ``/servers/NAME``; return its mount, which yields an endpoint per session."""
        servers = self._paths.servers
        prefix = f"{servers}/{name}"
        assert prefix not in self._doors, "one server of a name"
        quoted = f"{servers}/{quote(name, safe=_SAFE)}"
        return self._open(prefix, quoted, per_request=per_request, server=server, hub=hub)

    def _open(
        self, prefix: str, quoted: str, *, per_request: PerRequest, server: Dial | None, hub: Hub | None
    ) -> Mount:
        sse_path = self._paths.sse
        mount = Mount(quoted, self._context, sse_path=sse_path, per_request=per_request, server=server, hub=hub)
        door = self._doors[prefix] = self._door_of[mount] = _Door(prefix, mount, self._paths, self)
        if self._paths.mcp:
            self._fast[quoted + self._paths.mcp] = door.streamable
        return mount

    def unmount(self, mount: Mount, seconds: float) -> Coroutine[Any, Any, None]:
        """Stop offering a server; another server of the same name may take its place at once.

        The caller must await the returned coroutine. The coroutine waits for at most ``seconds`` for the requests in
        flight, and then ends the server's sessions. Until then, requests still reach these sessions.
        """
        door = next(door for door in self._doors.values() if door.mount is mount)
        del self._doors[door.prefix]
        self._fast.pop(mount.prefix + self._paths.mcp, None)
        self._leaving.append(door)
        return self._end(door, seconds)

    async def _end(self, door: _Door, seconds: float) -> None:
        mount = door.mount
        try:
            await mount.drain(seconds)
        finally:
            await mount.aclose("the relay no longer offers the server")
            self._leaving.remove(door)
            del self._door_of[mount]

    def _mounts(self) -> list[Mount]:
        return [door.mount for door in (*self._doors.values(), *self._leaving)]

    def _parts(self) -> list[Mount | Routes]:
        return [*self._mounts(), *(() if self.routes is None else (self.routes,))]

    # Life.

    async def start(self) -> None:
        """Bind and accept connections. Raises ConfigError if the relay cannot bind the address."""
        if not http_parser.HttpRequestParser.__module__.startswith("aiohttp._http_parser"):
            raise ConfigError(
                "aiohttp runs without its C parser, which is open to request smuggling; reinstall aiohttp"
            )
        limits = self._limits
        self._http = ConnectionServer(
            self.handle,
            self._fast,
            request_factory=functools.partial(_Request, loop=asyncio.get_running_loop()),
            limits=limits,
            refusals=self._context.refusals,
            handler_cancellation=True,
            lingering_time=limits.close_grace,
            access_log=None,
            auto_decompress=False,
            logger=logger,
        )
        loop = asyncio.get_running_loop()
        try:
            await self._serve(self._http)
        except (OSError, OverflowError, UnicodeError) as exc:
            self._stop_accepting()
            reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
            raise ConfigError(f"cannot listen on {_authority(self._host, self._port)}: {reason}") from exc
        if self.routes is not None:
            self.routes.begin(self.addresses)
        self._housekeeping = loop.create_task(self._tidy(), name="http listener: housekeeping")

    async def _serve(self, http: ConnectionServer) -> None:
        if self._descriptor is None:
            bound = await bind(self._host, self._port)
        else:
            bound = [socket.socket(fileno=self._descriptor)]
        try:
            while bound:
                sock = bound[0]
                sock.setblocking(False)
                addresses = addresses_of(sock)
                self._servers.append(await self._accept_at(sock, http))
                self.addresses += addresses
                bound.pop(0)
        finally:
            for sock in bound:
                sock.close()

    async def _accept_at(self, sock: socket.socket, http: ConnectionServer) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        # The kernel drops, and later resets, connections of one burst beyond this backlog (or net.core.somaxconn).
        backlog = self._limits.max_connections
        tls: dict[str, Any] = {}
        if self._ssl is not None:
            tls["ssl"] = self._ssl
            tls["ssl_handshake_timeout"] = self._limits.connect
            tls["ssl_shutdown_timeout"] = self._limits.close_grace
        # asyncio's server for Unix sockets removes the file at the end (3.13), but the file is not the relay's.
        if isinstance(sock.getsockname(), tuple) or isinstance(loop, asyncio.SelectorEventLoop):
            return await loop.create_server(http, sock=sock, backlog=backlog, **tls)
        return await loop.create_unix_server(http, sock=sock, backlog=backlog, **tls)

    @property
    def url(self) -> str:
        """The URL of the Streamable HTTP endpoint, for a client on this machine."""
        return self.base_url + self._paths.mcp

    @property
    def base_url(self) -> str:
        """The scheme, host and port of the listener."""
        host, port = self.addresses[0]
        scheme = "http" if self._ssl is None else "https"
        if host.startswith("unix:"):
            return f"{scheme}://{host}:"  # as nginx writes it
        return f"{scheme}://{_authority(EVERYWHERE.get(host, host), port)}"

    def __aiter__(self) -> AsyncIterator[AnyEndpoint]:
        """Yield each session at the root at its first frame, and the endpoint of clients without a session."""
        assert self._root is not None, "has a root"
        return aiter(self._root)

    async def drain(self, seconds: float) -> None:
        """Accept no new work, and wait for at most ``seconds`` until every request in flight has its answer."""
        self.is_draining = self._context.is_draining = True
        self._stop_accepting()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        await asyncio.gather(*(part.drain(seconds) for part in self._parts()))
        if self._http is not None:
            await self._http.flush(deadline - loop.time())

    def _stop_accepting(self) -> None:
        for server in self._servers:
            server.close()

    async def aclose(self) -> None:
        """Stop listening, end every session and close every connection."""
        self.is_draining = self._context.is_draining = True
        if self._housekeeping is not None:
            self._housekeeping.cancel()
            await asyncio.wait([self._housekeeping])
        self._stop_accepting()
        for part in self._parts():
            await part.aclose()
        if self._http is not None:
            self._http.pre_shutdown()  # closes idle connections at once
            await self._http.shutdown(self._limits.close_grace)
        if (standings := self._context.standings) is not None:
            await standings.aclose()
        if (login := self._context.gate.login) is not None:
            await login.aclose()

    @property
    def in_flight(self) -> int:
        """The number of requests that wait for an answer of one of the servers, whoever listens for their clients."""
        return sum(hub.in_flight for hub in self._hubs())

    @property
    def last_used(self) -> float:
        """When a client last used a server, by the loop's clock; 0 if none did."""
        return max((hub.last_used for hub in self._hubs()), default=0.0)

    def _hubs(self) -> set[Hub]:
        return {part.hub for part in self._parts()}

    async def _tidy(self) -> None:
        loop = asyncio.get_running_loop()
        period = min(1.0, self._limits.session_idle / 2)
        while True:
            await asyncio.sleep(period)
            for part in self._parts():
                part.tidy(loop.time())

    # Requests.

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request."""
        connection = request.protocol
        adopted = connection.adopt() if isinstance(connection, FastConnection) else None
        try:
            if adopted is not None:  # the callback has admitted and counted the request
                response = await self._go_on(request, *adopted)
            else:
                self._context.requests += 1
                response = await self._dispatch(request)
        except Refused as exc:
            self._context.refused += 1
            if exc.is_failed_login and self._context.gate.login is not None:
                self._context.gate.login.note_failure(request.remote, asyncio.get_running_loop().time())
            line = f"http: {request.method} {request.path[:_SHOWN_PATH]}: {exc.status} {exc}"
            self._context.refusals.note(f"{exc.status}", f"{exc}", line)
            response = self._context.refusal(exc)
            if holds_body_back(request):  # the next bytes may be its body or another request
                response.force_close()
            if not response.prepared and (cors := self._context.cors(request.headers)):
                response.headers.update(cors)
        return response

    async def _go_on(
        self, request: web.BaseRequest, streamable: StreamableHttp, adopted: Adopted, admission: Admission | None
    ) -> web.StreamResponse:
        assert admission is not None, "the callback admitted it"
        walk = self._context.gate.enter(cast("RequestHead", request), self)
        walk.admission, walk.is_counted = admission, True
        self._ask(walk)
        return await streamable.go_on(request, adopted, walk, admission)

    async def _dispatch(self, request: web.BaseRequest) -> web.StreamResponse:
        """Carry out the gate's decision. Raises Refused."""
        connection = request.protocol
        walk = connection.recall(request) if isinstance(connection, FastConnection) else None
        if walk is None:
            walk = self._context.gate.enter(cast("RequestHead", request), self)
        walk.is_counted = connection.take_counted() if isinstance(connection, FastConnection) else False
        decision = self._ask(walk)
        while isinstance(decision, VerificationWanted):
            await verify(self._context.gate, walk, decision)
            decision = self._ask(walk)
        if isinstance(decision, Refused):
            try:
                raise decision
            finally:
                del decision  # otherwise this frame and the exception live until the garbage collector runs
        if walk.purpose is Purpose.HEALTH:
            return self._health(request.path)
        if walk.purpose is Purpose.PREFLIGHT:
            return self._preflight(request)
        if walk.purpose is Purpose.REPORT:
            return self._report()
        if walk.purpose is Purpose.METADATA:
            return self._metadata(request)
        if self.routes is not None and walk.mount is self.routes:
            return await self.routes.carry_out(request, walk, decision)
        door = self._door_of[walk.mount]
        if walk.place == MCP:
            assert isinstance(decision, Accept | HandOn | BodyWanted), "no frame is here"
            return await door.streamable.carry_out(request, walk, decision)
        assert isinstance(decision, Accept | BodyWanted), "the gate forwards no HTTP+SSE"
        return await door.sse.carry_out(request, walk, decision)

    def _ask(self, walk: Walk) -> Decision:
        now = asyncio.get_running_loop().time()
        decision = self._context.gate.decide(walk, now)
        if walk.is_at_place:
            walk.mount.hub.touched = now
        return decision

    # The gate's view of the listener.

    @property
    def health_paths(self) -> tuple[str, ...]:
        """Additional paths that report whether the relay accepts new work."""
        return self._paths.health

    @property
    def places(self) -> Places:
        """The places that the listener has for sessions."""
        return self._context.places

    def find_mount(self, head: RequestHead) -> tuple[Mount, str] | None:
        """Return the server at a request's path, and the default name of that path; None if there is no server."""
        for prefix, place in self._paths.places(head.path):
            for door in self._leaving:
                if door.prefix == prefix and door.knows(head):
                    return door.mount, place
            if (found := self._doors.get(prefix)) is not None:
                return found.mount, place
        return None

    @property
    def scheme(self) -> Literal["http", "https"]:
        """The scheme of the listener's URLs."""
        return "http" if self._ssl is None else "https"

    def resource_path(self, mount: MountView, place: str) -> str:
        """Return the path of the server's Streamable HTTP or HTTP+SSE endpoint, whichever ``place`` belongs to."""
        door = self._door_of[mount]  # type: ignore[index] # the mount is one of ours
        return door.mount.prefix + (self._paths.mcp if place == MCP else self._paths.sse)

    def describe_places(self) -> str:
        """Return a text that names the paths of all servers."""
        at_root = (("MCP is", self._paths.mcp), ("HTTP+SSE is", self._paths.sse)) if self._root is not None else ()
        places = [f"{what} at {where}" for what, where in at_root if where]
        if self.routes is not None:
            places.append(self.routes.places)
        path = self._paths.mcp or self._paths.sse
        named = [door.mount.prefix + path for door in self._doors.values() if door.prefix]
        if named:
            more = f" and {len(named) - _SHOWN_NAMES} more" if len(named) > _SHOWN_NAMES else ""
            places.append(f"servers with names are at {', '.join(named[:_SHOWN_NAMES])}{more}")
        return ", ".join(places) or "no server is offered now"

    def _preflight(self, request: web.BaseRequest) -> web.Response:
        requested = listed(request.headers, "Access-Control-Request-Headers") or ""
        cors = self._context.cors(request.headers, requested)
        if (origin := request.headers.get("Origin")) is not None and not cors:
            fault = "the relay does not allow that origin; --allow-origin adds it"
            self._context.refusals.note("preflight", origin, f"http: refused a page of origin {origin!r}: {fault}")
        return web.Response(status=204, headers=cors or {"Allow": "GET, POST, DELETE, OPTIONS"})

    def _health(self, path: str) -> web.Response:
        is_ending = self.is_leaving or self.is_draining
        status = 503 if is_ending else 200
        if path in self._paths.health:
            return web.Response(status=status, text="draining" if is_ending else "ok")
        body = orjson.dumps({"status": "draining" if is_ending else "healthy"})
        return web.Response(status=status, body=body, content_type=JSON)

    def _metadata(self, request: web.BaseRequest) -> web.Response:
        """Say where clients get tokens. Raises Refused if no server is there, or nobody issues tokens."""
        from relay.endpoints.http.identity import base_url_of

        login = self._context.gate.login
        assert login is not None, "the gate knows of it"
        if login.metadata is None:
            raise Refused(404, "nobody issues tokens for this server; its operator gives them out")
        headers = {"Access-Control-Allow-Origin": "*", "Cache-Control": "no-cache"}
        if request.method == "OPTIONS":
            asked = listed(request.headers, "Access-Control-Request-Headers") or "MCP-Protocol-Version"
            headers |= {"Access-Control-Allow-Methods": "GET, OPTIONS", "Access-Control-Allow-Headers": asked}
            return web.Response(status=204, headers=headers)
        path = login.metadata.path_of(request.path)
        known = [door.mount.prefix + one for door in self._doors.values() for one in (self._paths.mcp, self._paths.sse)]
        if not path:  # the address without a path is about the server at the root
            path = (self._paths.mcp or self._paths.sse) if self._root is not None else ""
        elif path not in known:
            raise Refused(404, f"no server is at {path!r}")
        document = login.metadata.document(base_url_of(self.scheme, request.headers.get("Host")), path)
        return web.Response(body=orjson.dumps(document), content_type=JSON, headers=headers)

    def _report(self) -> web.Response:
        body = {
            "sessions": self._context.places.taken,
            "in_flight": self.in_flight,
            "connections": len(self._http.connections) if self._http is not None else 0,
            "requests": self._context.requests,
            "refused": self._context.refused,
            "active_sse_connections": self._context.active_streams,
            "draining": self.is_leaving or self.is_draining,
            **self._status(),
        }
        return web.Response(body=orjson.dumps(body), content_type=JSON)
