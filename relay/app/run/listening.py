"""Where clients come from, as users write it: ``relay.listen``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ssl import SSLContext
from typing import TYPE_CHECKING

from relay.addresses import shown_address
from relay.app.specs import ListenSpec, parse_listen
from relay.endpoints.base import Listener
from relay.endpoints.http.listening import ListeningOptions
from relay.errors import ConfigError
from relay.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from relay.auth.inbound.login import InboundLogin

__all__ = ["listen"]


async def listen(
    spec: str = "http://127.0.0.1:0/mcp",
    *,
    allowed_hosts: Sequence[str] = (),
    allowed_origins: Sequence[str] = (),
    tokens: Mapping[str, str] | None = None,
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

    Port 0 takes a free port. Without ``tokens``, every client that reaches the address may use the server behind it.
    ``allowed_hosts`` and ``allowed_origins`` apply to HTTP, as on the command line. With ``ssl``, HTTP and TCP use TLS;
    ``"https://…"`` and ``"tls://…"`` require it.

    With ``tokens``, a token for each name, HTTP admits only clients with one of them. The endpoint of a client has the
    name as its ``owner``. Raises ConfigError if the spec is malformed, if the address cannot be bound, or if another
    transport than HTTP gets tokens.
    """
    where = _parse(spec)
    if where.is_tls and ssl is None:
        raise ConfigError(f"cannot listen: {shown_address(spec)!r}: TLS needs a context with a certificate: ssl=…")
    if tokens is not None and where.kind != "http":
        raise ConfigError(f"cannot listen: {shown_address(spec)!r}: only HTTP can ask for a token")
    options = ListeningOptions(
        allowed_hosts=allowed_hosts, allowed_origins=allowed_origins, login=_login(tokens), tls=ssl, limits=limits
    )
    if where.kind == "http":
        from relay.endpoints.http.server.listener import HttpListener

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
        sockets = TcpListener(where.host, where.port, options)
    else:
        sockets = UnixListener(where.path, options)
    await sockets.start()
    return sockets


def _login(tokens: Mapping[str, str] | None) -> InboundLogin | None:
    if tokens is None:
        return None
    from relay.auth.inbound.login import InboundLogin
    from relay.auth.inbound.token_sources import GivenTokens

    return InboundLogin(GivenTokens(tokens))


def _parse(spec: str) -> ListenSpec:
    try:
        return parse_listen(spec)
    except ConfigError as exc:
        raise ConfigError(f"cannot listen: {str(exc).removeprefix('--listen: ')}") from None
