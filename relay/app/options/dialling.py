"""Turn options into values: how to reach servers, and how to listen."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from relay.app.log.stderr import StderrSink, say
from relay.app.options.access import forwarded_headers, issuer_urls, login_of, public_host, rates_of
from relay.app.options.limits import limits_of
from relay.app.options.login import token_urls
from relay.app.options.oauth import open_logins
from relay.app.options.tls import dial_tls, listen_tls
from relay.app.specs import ListenSpec
from relay.endpoints.core.dialling import DiallingOptions, Logins, RequestLogin, Transport
from relay.endpoints.http.listening import ListeningOptions
from relay.endpoints.http.paths import DEFAULT_PATHS, HttpPaths

if TYPE_CHECKING:
    from relay.auth.outbound.logins import Login

__all__ = ["dialling_of", "ending_logins", "listening_of"]


def dialling_of(
    options: argparse.Namespace,
    headers: Mapping[str, str],
    addresses: Iterable[str],
    sink: StderrSink,
    *,
    login: Login | None = None,
    url: str | None = None,
    transport: Transport = "auto",
    may_ask: bool = True,
) -> DiallingOptions:
    """Return how to reach servers at ``addresses``, with the login for the one at ``url``, or by OAuth at each.

    ``may_ask``: whether a person may be asked to log in. Raises ConfigError.
    """
    addresses = list(addresses)
    tls = dial_tls(options, [*addresses, *token_urls(login), *issuer_urls(options)], sink)
    limits = limits_of(options)
    opened: Logins | RequestLogin | None
    if login is not None and url is not None:
        from relay.endpoints.http.client.login import open_login

        opened = open_login(login, url, tls, limits)
    else:
        opened = open_logins(
            options, addresses, limits, ssl_context=tls, may_ask=may_ask, tell=lambda line: say(sink, line)
        )
    return DiallingOptions(headers=headers, transport=transport, tls=tls, login=opened, limits=limits)


async def ending_logins(job: Callable[[], Coroutine[Any, Any, int]], options: DiallingOptions) -> int:
    """Run a job, and then end the logins that are under way."""
    try:
        return await job()
    finally:
        await options.end_logins()


def listening_of(
    options: argparse.Namespace,
    listens: Sequence[ListenSpec],
    dialling: DiallingOptions,
    paths: HttpPaths = DEFAULT_PATHS,
) -> ListeningOptions:
    """Return the options that the listeners at these addresses share. Raises ConfigError.

    The relay reaches the authorization server of its clients as ``dialling`` says.
    """
    return ListeningOptions(
        allowed_hosts=[*options.allowed_host, *public_host(options)],
        allowed_origins=options.allow_origin,
        exposed_headers=options.expose_header,
        login=login_of(options, listens, dialling.tls),
        rates=rates_of(options),
        forward_headers=forwarded_headers(options),
        tls=listen_tls(options, listens),
        paths=paths,
        limits=limits_of(options),
    )
