"""From what the user names to endpoints: the only place, beside the package's door, that names concrete ones.

Transports are imported when they are wanted: aiohttp costs 150 ms of start-up that a relay between stdio and a child
need not pay.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable
from urllib.parse import urlsplit

from relay.addresses import fault_of_url, shown_address
from relay.auth.origin import OriginPolicy
from relay.endpoints.base import Endpoint
from relay.endpoints.child.child import Child, child_environment
from relay.endpoints.core.lazy import Lazy
from relay.endpoints.core.refusing import Refusing
from relay.endpoints.http.paths import DEFAULT_PATHS, HttpPaths
from relay.endpoints.stdio.own_stdio import OwnStdio
from relay.errors import ConfigError, EndpointUnavailable
from relay.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from ssl import SSLContext

    import httpx

    from relay.auth.outbound import Login
    from relay.endpoints.core.bounds import Bounds
    from relay.endpoints.http.client.aiohttp_dial import Dial
    from relay.endpoints.http.client.login import HttpLogin
    from relay.endpoints.http.server.listener import HttpListener
    from relay.endpoints.http.server.mount import PerRequest

__all__ = ["AddressTarget", "RemoteTarget", "connect", "is_url", "listen_http", "log_in_to"]

logger = logging.getLogger("relay")

_MOST_UNANSWERED = 64
_PERIOD = 0.02  # seconds between two looks at those
SCHEMES = ("http://", "https://")
_KNOWN = (
    "known are http(s)://host/path, ws(s)://host/path, tcp://host:port, tls://host:port, unix:/path, stdio:, "
    "and a command as a list"
)


def is_url(target: str) -> bool:
    """Tell whether a target is a URL of an MCP server; anything else is a command."""
    return target.lower().startswith(SCHEMES)


def connect(
    target: str | Sequence[str],
    *,
    headers: Mapping[str, str] | None = None,
    transport: Literal["auto", "sse", "streamablehttp"] = "auto",
    ssl: SSLContext | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
    client: httpx.AsyncClient | None = None,
    login: HttpLogin | None = None,
) -> Endpoint:
    """Return an endpoint for a target; it is started or connected when first used.

    ``"https://host/mcp"`` is a server by HTTP (``headers`` go with every request, ``transport`` is found out),
    ``"ws://host/mcp"`` one by WebSocket, ``"tcp://host:port"`` and ``"unix:/path"`` one by a socket, ``"stdio:"`` this
    process's own stdin and stdout, a list a command to start (in ``cwd``, with ``env`` added to the short environment
    that MCP's SDKs give). ``https``, ``wss`` and ``tls`` are with TLS, as ``ssl`` says if given. An http(s) URL is
    spoken to through ``client``, if there is one: an ``httpx.AsyncClient`` for HTTP/2, SOCKS, an ``httpx.Auth``, an
    application in this process; it remains the caller's to close. ``login`` is what ``log_in_to`` makes, for URLs
    without a client. Raises ConfigError for anything else.
    """
    if client is not None and (not isinstance(target, str) or not is_url(target)):
        raise ConfigError(f"cannot connect to {_shown(target)!r} through an httpx client: that takes an http(s) URL")
    if client is not None and ssl is not None:
        raise ConfigError("ssl: an httpx client has its own TLS; give the context to it, as verify=…")
    if not isinstance(target, str):
        command = _command(target)

        async def start() -> Endpoint:
            return await Child.start(command, env=child_environment(env), cwd=cwd, limits=limits)

        return Lazy(os.path.basename(command[0]), start)
    if target == "stdio:":
        return Lazy("stdio", lambda: OwnStdio.open(limits=limits))
    if target.lower().startswith((*SCHEMES, "ws://", "wss://")):
        _check_host(target)
    if is_url(target):

        async def dial() -> Endpoint:
            from relay.endpoints.http.client.remote import Remote

            return Remote(
                target,
                headers=headers,
                transport=transport,
                ssl_context=ssl,
                limits=limits,
                client=client,
                login=login,
            )

        return Lazy(shown_address(target), dial)
    if target.lower().startswith(("tcp://", "tls://", "unix:")):
        from relay.endpoints.socket.tcp import dial as dial_socket
        from relay.endpoints.socket.tcp import parse_address

        address = parse_address(target)
        return Lazy(str(address), lambda: dial_socket(target, ssl_context=ssl, limits=limits))
    if target.lower().startswith(("ws://", "wss://")):

        async def dial_upgraded() -> Endpoint:
            from relay.endpoints.websocket.websocket import dial_websocket

            return await dial_websocket(target, headers=headers, login=login, ssl_context=ssl, limits=limits)

        return Lazy(shown_address(target), dial_upgraded)
    raise ConfigError(f"cannot connect to {_shown(target)!r}: {_KNOWN}")


def _shown(target: str | Sequence[str]) -> str | Sequence[str]:
    return shown_address(target) if isinstance(target, str) else target


def _command(words: object) -> list[str]:
    if isinstance(words, Endpoint):
        raise ConfigError(f"cannot connect to {words.name}: it is an endpoint already")
    if not isinstance(words, Sequence) or isinstance(words, bytes | bytearray | memoryview):
        raise ConfigError(f"cannot connect to {words!r}: {_KNOWN}")
    if not words or not words[0]:
        raise ConfigError("cannot connect to a command without words: no command given")
    return [str(word) for word in words]


def _check_host(url: str) -> None:
    """See that a URL names a host, and a port that can be one. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError as exc:
        raise ConfigError(f"cannot connect to {shown_address(url)!r}: it is not a URL: {fault_of_url(exc)}") from None
    if not is_whole:
        raise ConfigError(
            f"cannot connect to {shown_address(url)!r}: it names no host, or the port 0; "
            f"expected {parts.scheme}://host/path"
        )


def log_in_to(url: str, login: Login | None, *, ssl: SSLContext | None = None) -> HttpLogin | None:
    """Return what logs in to the server at a URL, to be shared by all connections to it; None if nothing is to.

    A token endpoint is trusted as ``ssl`` says.
    """
    if login is None:
        return None
    from relay.endpoints.http.client.login import open_login

    return open_login(login, url, ssl)


async def listen_http(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    allowed_hosts: Sequence[str] = (),
    allowed_origins: Sequence[str] = (),
    exposed_headers: Sequence[str] = (),
    ssl: SSLContext | None = None,
    limits: Limits = DEFAULT_LIMITS,
    status: Callable[[], dict[str, object]] | None = None,
    per_request: PerRequest = "no",
    server: Dial | None = None,
    has_root: bool = True,
    descriptor: int | None = None,
    paths: HttpPaths = DEFAULT_PATHS,
    bounds: Bounds | None = None,
) -> HttpListener:
    """Listen for MCP clients by HTTP (``/mcp`` and ``/sse``); iterate over the result for an endpoint per session.

    Clients of 2026-07-28 have no sessions: they come as one endpoint. With ``per_request`` every request comes as an
    endpoint of its own: those of the legacy era, or all. A ``server`` that speaks Streamable HTTP is handed requests as
    they come, and only clients of HTTP+SSE become endpoints. With TLS if ``ssl`` is given. ``descriptor`` is a socket
    that listens there already. ``bounds`` are shared with other listeners. Raises ConfigError if the address cannot be
    had.
    """
    from relay.endpoints.http.server.listener import HttpListener

    policy = OriginPolicy(host, allowed_hosts, allowed_origins, exposed_headers)
    listener = HttpListener(
        host,
        port,
        ssl_context=ssl,
        limits=limits,
        policy=policy,
        status=status,
        per_request=per_request,
        server=server,
        has_root=has_root,
        descriptor=descriptor,
        paths=paths,
        bounds=bounds,
    )
    await listener.start()
    return listener


class RemoteTarget:
    """A URL that is connected to for each session."""

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        transport: Literal["auto", "sse", "streamablehttp"],
        ssl: SSLContext | None = None,
        login: Login | None = None,
        limits: Limits,
    ) -> None:
        """Check that it is a URL. Raises ConfigError."""
        from relay.endpoints.http.client.aiohttp_dial import Dial

        self._login = log_in_to(url, login, ssl=ssl)
        self._url = url
        self._headers = headers
        self._transport = transport
        self._ssl = ssl
        self._limits = limits
        self.dial = Dial(url, headers, limits, ssl, login=self._login)
        self.name = self.dial.name
        self.fault: str | None = None
        """Why its sessions' last request had no answer; None if it had one."""
        self.open: weakref.WeakSet[Endpoint] = weakref.WeakSet()
        self.started = 0

    def endpoint(self, *, is_shared: bool = False) -> Endpoint:
        """Return an endpoint that connects when first used; many clients may have requests open if they share it."""
        from relay.endpoints.http.client.remote import Remote

        limits = self._limits
        if is_shared:
            limits = dataclasses.replace(limits, max_in_flight=limits.max_shared_in_flight)
        endpoint = Remote(
            self._url,
            headers=self._headers,
            transport=self._transport,
            ssl_context=self._ssl,
            limits=limits,
            login=self._login,
        )
        self.open.add(endpoint)
        self.started += 1
        return endpoint

    def forget(self, endpoint: Endpoint) -> None:
        """Forget an endpoint whose pipe has ended."""
        self.open.discard(endpoint)

    @property
    def passes_requests(self) -> bool:
        """Whether requests can be handed on as they come: not to HTTP+SSE, which is another framing."""
        return self._transport != "sse"

    def status(self) -> dict[str, object]:
        """Return what ``/status`` says of it: no headers, no query."""
        fault = self.dial.fault or self.fault
        state = "failing" if fault is not None else "running" if self.open else "idle"
        connections = {"connections": len(self.open), "started": self.started}
        return {"state": state, "last_error": fault, "url": self.name, **connections}

    async def aclose(self) -> None:
        """Close the connections of requests that were handed on."""
        await self.dial.aclose()


@runtime_checkable
class _MayBeSilent(Endpoint, Protocol):
    """A connection that tells whether it was ever answered: TCP and Unix sockets, where nothing says who is behind."""

    @property
    def is_unheard(self) -> bool: ...

    @property
    def owes_answers(self) -> bool: ...


class AddressTarget:
    """A WebSocket, TCP, TLS or Unix socket address that is connected to for each session; or own stdio, for one."""

    def __init__(
        self,
        address: str,
        *,
        headers: Mapping[str, str],
        ssl: SSLContext | None = None,
        login: Login | None = None,
        limits: Limits,
    ) -> None:
        """Check that it is an address. Raises ConfigError."""
        self._address = address
        self._headers = headers
        self._ssl = ssl
        self._limits = limits
        self.name = connect(address, headers=headers, limits=limits).name
        self._login = log_in_to(address, login, ssl=ssl)
        self.started = 0
        self.fault: str | None = None
        """Why the last connection could not be made; None if it could."""
        self._unheard: set[_MayBeSilent] = set()

    def endpoint(self, *, is_shared: bool = False) -> Endpoint:
        """Return an endpoint that connects when first used."""
        self.started += 1
        if self.is_there_once and self.started > 1:
            return Lazy(self.name, self._refuse)
        return Lazy(self.name, self._connect)

    @property
    def is_there_once(self) -> bool:
        """Whether it cannot be connected to again once it was let go."""
        return self._address == "stdio:"

    async def _connect(self) -> Endpoint:
        """Connect, or return what says why not."""
        if not await self._has_turn():
            self.fault = (
                f"{self.name}: {_MOST_UNANSWERED} connections to it wait for their first answer: "
                "does it lead back to this relay?"
            )
            return Refusing(self.name, self.fault)
        endpoint = connect(self._address, headers=self._headers, ssl=self._ssl, limits=self._limits, login=self._login)
        assert isinstance(endpoint, Lazy), "nothing is connected before it is used"
        try:
            opened = await endpoint.open()
        except EndpointUnavailable as exc:
            self.fault = str(exc)
            return Refusing(self.name, self.fault)
        self.fault = None
        if isinstance(opened, _MayBeSilent):
            self._unheard.add(opened)
        return opened

    async def _has_turn(self) -> bool:
        """Wait while too many connections have been asked and never answered, which is all that a loop does."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.find_out):
                while True:
                    self._unheard = {one for one in self._unheard if one.is_unheard}
                    if sum(one.owes_answers for one in self._unheard) < _MOST_UNANSWERED:
                        return True
                    await asyncio.sleep(_PERIOD)
        return False

    async def _refuse(self) -> Endpoint:
        raise EndpointUnavailable("the server on stdio has a client already; --share shared lets others join it")

    def forget(self, endpoint: Endpoint) -> None:
        """Keep nothing of an endpoint whose pipe has ended."""

    def status(self) -> dict[str, object]:
        """Return what ``/status`` says of it."""
        state = {"state": "failing" if self.fault is not None else "idle", "last_error": self.fault}
        return {**state, "address": self.name, "started": self.started}

    async def aclose(self) -> None:
        """Have nothing to let go of."""
