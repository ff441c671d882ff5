"""Where clients come from, as users write it: ``relay.listen``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ssl import SSLContext
from typing import TYPE_CHECKING

from relay.addresses import shown_address
from relay.app.specs import ListenSpec, parse_listen
from relay.endpoints.base import Listener
from relay.endpoints.http.listening import DEFAULT_LISTENING, ListeningOptions
from relay.errors import ConfigError
from relay.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from relay.endpoints.core.bounds import Bounds
    from relay.endpoints.http.client.aiohttp_dial import Dial
    from relay.endpoints.http.server.listener import HttpListener
    from relay.endpoints.http.server.mount import PerRequest

__all__ = ["listen", "listen_http"]


async def listen(
    spec: str = "http://127.0.0.1:0/mcp",
    *,
    allowed_hosts: Sequence[str] = (),
    allowed_origins: Sequence[str] = (),
    ssl: SSLContext | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Listener:
    """Listen at ``spec``; iterate over the result for an endpoint per peer, close it with ``aclose``.

        listener = await relay.listen("tcp://127.0.0.1:0")
        print(listener.url)  # with the port that was given
        async for client in listener:
            group.create_task(relay.pipe(client, relay.connect(["my-server"])))

    ``"http://HOST:PORT/mcp"`` takes Streamable HTTP, HTTP+SSE at ``/sse`` and WebSocket: an endpoint per session, and
    one for all clients of 2026-07-28, which have none. ``"tcp://HOST:PORT"`` and ``"unix:/PATH"`` yield one per
    connection, ``"stdio:"`` this process's own stdin and stdout, once. Port 0 is a free one. Whoever reaches the
    address may use what is behind it; ``allowed_hosts`` and ``allowed_origins`` are for HTTP, as on the command line.
    With ``ssl``, HTTP and TCP are with TLS; ``"https://…"`` and ``"tls://…"`` are so written, and need it. Raises
    ConfigError if the spec is none or the address cannot be had.
    """
    where = _parse(spec)
    if where.is_tls and ssl is None:
        raise ConfigError(f"cannot listen: {shown_address(spec)!r}: TLS needs a context with a certificate: ssl=…")
    if where.kind == "http":
        return await listen_http(
            where.host,
            where.port,
            ListeningOptions(allowed_hosts=allowed_hosts, allowed_origins=allowed_origins, tls=ssl, limits=limits),
            descriptor=where.descriptor,
        )
    if where.kind == "stdio":
        from relay.endpoints.stdio.listener import StdioListener
        from relay.endpoints.stdio.own_stdio import OwnStdio

        return StdioListener(await OwnStdio.open(limits=limits))
    from relay.endpoints.socket.listener import TcpListener, UnixListener

    sockets: TcpListener | UnixListener
    if where.kind == "tcp":
        sockets = TcpListener(where.host, where.port, ssl_context=ssl, limits=limits)
    else:
        sockets = UnixListener(where.path, limits=limits)
    await sockets.start()
    return sockets


async def listen_http(
    host: str = "127.0.0.1",
    port: int = 0,
    options: ListeningOptions = DEFAULT_LISTENING,
    *,
    status: Callable[[], dict[str, object]] | None = None,
    per_request: PerRequest = "no",
    server: Dial | None = None,
    has_root: bool = True,
    descriptor: int | None = None,
    bounds: Bounds | None = None,
) -> HttpListener:
    """Listen for MCP clients by HTTP (``/mcp`` and ``/sse``); iterate over the result for an endpoint per session.

    Clients of 2026-07-28 have no sessions: they come as one endpoint. With ``per_request`` every request comes as an
    endpoint of its own: those of the legacy era, or all. A ``server`` that speaks Streamable HTTP is handed requests as
    they come, and only clients of HTTP+SSE become endpoints. ``descriptor`` is a socket that listens there already.
    ``bounds`` are shared with other listeners. Raises ConfigError if the address cannot be had.
    """
    from relay.endpoints.http.server.listener import HttpListener

    listener = HttpListener(
        host,
        port,
        options,
        status=status,
        per_request=per_request,
        server=server,
        has_root=has_root,
        descriptor=descriptor,
        bounds=bounds,
    )
    await listener.start()
    return listener


def _parse(spec: str) -> ListenSpec:
    try:
        return parse_listen(spec)
    except ConfigError as exc:
        raise ConfigError(f"cannot listen: {str(exc).removeprefix('--listen: ')}") from None
