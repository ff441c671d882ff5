"""From what the user names to endpoints: the only place, beside the package's door, that names concrete ones.

Transports are imported when they are wanted: aiohttp costs 150 ms of start-up that a relay between stdio and a child
need not pay.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from relay.addresses import fault_of_url, shown_address
from relay.app.specs import URL_SCHEMES, is_url
from relay.endpoints.base import Endpoint
from relay.endpoints.child.child import Child, child_environment
from relay.endpoints.core.dialling import DiallingOptions, Logins, RequestLogin, Transport
from relay.endpoints.core.lazy import Lazy
from relay.endpoints.stdio.own_stdio import OwnStdio
from relay.errors import ConfigError
from relay.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from ssl import SSLContext

    import httpx

__all__ = ["connect", "connect_with"]

logger = logging.getLogger("relay")

_KNOWN = (
    "known are http(s)://host/path, ws(s)://host/path, tcp://host:port, tls://host:port, unix:/path, stdio:, "
    "and a command as a list"
)


def connect(
    target: str | Sequence[str],
    *,
    headers: Mapping[str, str] | None = None,
    transport: Transport = "auto",
    ssl: SSLContext | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
    client: httpx.AsyncClient | None = None,
    login: Logins | RequestLogin | None = None,
) -> Endpoint:
    """Return an endpoint for a target. The first use of the endpoint starts the command, or connects.

    - ``"https://host/mcp"``: a server by HTTP. ``headers`` go with every request; ``transport`` is found out.
    - ``"ws://host/mcp"``: a server by WebSocket.
    - ``"tcp://host:port"``, ``"unix:/path"``: a server by a socket.
    - ``"stdio:"``: this process's own stdin and stdout.
    - A list: a command to start, in ``cwd``, with ``env`` added to the short environment that MCP's SDKs give.

    ``https``, ``wss`` and ``tls`` use TLS, with the context ``ssl`` if it is given. With ``client``, an
    ``httpx.AsyncClient``, the relay sends the requests to an http(s) URL through that client: for HTTP/2, SOCKS, an
    ``httpx.Auth``, or an application in this process. The caller closes the client. ``login`` comes from
    ``open_login``; Digest is for URLs without a client. Raises ConfigError for anything else.
    """
    options = DiallingOptions(headers=headers or {}, transport=transport, tls=ssl, login=login, limits=limits)
    return connect_with(options, target, env=env, cwd=cwd, client=client)


def connect_with(
    options: DiallingOptions,
    target: str | Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    client: httpx.AsyncClient | None = None,
) -> Endpoint:
    """Return an endpoint for a target as ``connect`` does, with the options that it makes of its arguments."""
    limits = options.limits
    if options.guard is not None and (client is not None or not _is_guarded(target)):
        raise ConfigError(
            f"cannot connect to {_shown(target)!r} behind a guard: it judges http(s):// and ws(s):// only"
        )
    if client is not None and (not isinstance(target, str) or not is_url(target)):
        raise ConfigError(f"cannot connect to {_shown(target)!r} through an httpx client: that takes an http(s) URL")
    if client is not None and options.tls is not None:
        raise ConfigError("ssl: an httpx client has its own TLS; give the context to it, as verify=…")
    if not isinstance(target, str):
        command = _command(target)

        async def start() -> Endpoint:
            return await Child.start(command, env=child_environment(env), cwd=cwd, limits=limits)

        return Lazy(os.path.basename(command[0]), start)
    if target == "stdio:":
        return Lazy("stdio", lambda: OwnStdio.open(limits=limits))
    if target.lower().startswith((*URL_SCHEMES, "ws://", "wss://")):
        _check_host(target)
    if is_url(target):

        async def dial() -> Endpoint:
            from relay.endpoints.http.client.remote import Remote

            return Remote(target, options, client=client)

        return Lazy(shown_address(target), dial)
    if target.lower().startswith(("tcp://", "tls://", "unix:")):
        from relay.endpoints.socket.tcp import dial as dial_socket
        from relay.endpoints.socket.tcp import parse_address

        address = parse_address(target)
        return Lazy(str(address), lambda: dial_socket(target, ssl_context=options.tls, limits=limits))
    if target.lower().startswith(("ws://", "wss://")):

        async def dial_upgraded() -> Endpoint:
            from relay.endpoints.websocket.websocket import dial_websocket

            return await dial_websocket(target, options)

        return Lazy(shown_address(target), dial_upgraded)
    raise ConfigError(f"cannot connect to {_shown(target)!r}: {_KNOWN}")


def _is_guarded(target: str | Sequence[str]) -> bool:
    """Tell whether the guard judges every socket that a connection to this target opens."""
    return isinstance(target, str) and target.lower().startswith((*URL_SCHEMES, "ws://", "wss://"))


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
