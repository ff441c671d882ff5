"""Where clients come from, as users write it: ``relay.listen``."""

from __future__ import annotations

from collections.abc import Sequence
from ssl import SSLContext

from relay.addresses import shown_address
from relay.app.specs import ListenSpec, parse_listen
from relay.endpoints.base import Listener
from relay.endpoints.http.listening import ListeningOptions
from relay.errors import ConfigError
from relay.limits import DEFAULT_LIMITS, Limits

__all__ = ["listen"]


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

    - ``"http://HOST:PORT/mcp"``: Streamable HTTP, HTTP+SSE at ``/sse`` and WebSocket. Each session is an endpoint; all
      clients of 2026-07-28, which have no sessions, are one.
    - ``"tcp://HOST:PORT"``, ``"unix:/PATH"``: each connection is an endpoint.
    - ``"stdio:"``: this process's own stdin and stdout, once.

    Port 0 takes a free port. Every client that reaches the address may use the server behind it. ``allowed_hosts`` and
    ``allowed_origins`` apply to HTTP, as on the command line. With ``ssl``, HTTP and TCP use TLS; ``"https://…"`` and
    ``"tls://…"`` require it. Raises ConfigError if the spec is malformed or the address cannot be bound.
    """
    where = _parse(spec)
    if where.is_tls and ssl is None:
        raise ConfigError(f"cannot listen: {shown_address(spec)!r}: TLS needs a context with a certificate: ssl=…")
    if where.kind == "http":
        from relay.endpoints.http.server.listener import HttpListener

        options = ListeningOptions(allowed_hosts=allowed_hosts, allowed_origins=allowed_origins, tls=ssl, limits=limits)
        listener = HttpListener(where.host, where.port, options, descriptor=where.descriptor)
        await listener.start()
        return listener
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


def _parse(spec: str) -> ListenSpec:
    try:
        return parse_listen(spec)
    except ConfigError as exc:
        raise ConfigError(f"cannot listen: {str(exc).removeprefix('--listen: ')}") from None
