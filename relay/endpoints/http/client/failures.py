"""Describe why an aiohttp connection failed, without naming headers or logins."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import Any

import aiohttp

from relay.addresses import without_logins
from relay.endpoints.core.tls import describe_tls
from relay.endpoints.http.client.proxy import Proxy

__all__ = ["describe_failure", "describe_unreached"]


def describe_unreached(exc: Exception, proxy: Proxy | None, *, plain: str = "http://") -> str:
    """Describe why no connection was made, and name the proxy if the connection goes through one.

    ``plain`` is the address prefix of a server without TLS.
    """
    if (tls := _tls_error(exc)) is not None:
        way = "" if proxy is None else f" through the proxy {proxy}"
        return f"cannot connect{way}: {describe_tls(tls, plain)}"
    if proxy is None:
        return f"cannot connect: {describe_failure(exc)}"
    if isinstance(exc, aiohttp.ClientProxyConnectionError):
        return f"cannot connect: the proxy {proxy}: {describe_failure(exc)}"
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        wanted = "; the proxy requires a login: http://user:password@host:port" if exc.status == 407 else ""
        return f"cannot connect: the proxy {proxy} refuses with status {exc.status}{wanted}"
    return f"cannot connect through the proxy {proxy}: {describe_failure(exc)}"


def describe_failure(exc: Exception) -> str:
    """Describe a failure without the headers and URLs that aiohttp puts into some of its messages."""
    if (tls := _tls_error(exc)) is not None:
        return describe_tls(tls, "http://")
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        return f"no address for {exc.host!r}"
    if isinstance(exc, aiohttp.ClientConnectorError):
        inner: Any = exc.os_error
        return (inner.errno and os.strerror(inner.errno)) or str(inner) or type(inner).__name__
    if isinstance(exc, aiohttp.ServerDisconnectedError):
        return "the server closed the connection before answering"
    if isinstance(exc, aiohttp.ClientPayloadError):
        return "the connection broke in the middle of an answer"
    if isinstance(exc, aiohttp.ClientResponseError | aiohttp.http_exceptions.HttpProcessingError):
        return "the server's answer is not HTTP"
    if isinstance(exc, (TimeoutError, asyncio.TimeoutError)):
        return "timed out"
    return without_logins(str(exc)) or type(exc).__name__


def _tls_error(exc: BaseException | None) -> ssl.SSLError | None:
    """Return the OpenSSL error behind an aiohttp error, if there is one. Some aiohttp errors are SSLErrors, too."""
    while exc is not None:
        if isinstance(exc, ssl.SSLError) and not isinstance(exc, aiohttp.ClientError):
            return exc
        exc = exc.__cause__
    return None
