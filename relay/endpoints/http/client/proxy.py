"""Find the HTTP proxy for a server in the environment: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY.

The variables mean what they mean to Python's ``urllib.request``, with two additions. ALL_PROXY applies if the variable
of the scheme is missing, as in curl. The relay never reaches a loopback address through a proxy, as in Go: the proxy
would connect to its own machine, and send there the token meant for ours.
"""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING, Any

from yarl import URL

from relay.auth.origin import is_loopback
from relay.endpoints.http.address import read_url
from relay.errors import ConfigError
from relay.values import PrivateValue

if TYPE_CHECKING:
    from relay.endpoints.core.egress import EgressGuard

__all__ = ["Proxy", "proxy_for"]

_SCHEMES = {"ws": "http", "wss": "https"}
_TUNNELLED = ("https", "wss")
_AUTHORIZATION = "Proxy-Authorization"


class Proxy(PrivateValue, frozen=True):
    """A proxy and the relay's login to it."""

    url: URL
    """The address without the login, so that logs may show it."""
    authorization: str | None = None
    """The value of ``Proxy-Authorization``."""

    def __str__(self) -> str:
        """Return the address, without the login."""
        return str(self.url.origin())

    def request_arguments(self, url: URL) -> dict[str, Any]:
        """Return the arguments of an aiohttp request that use this proxy. A CONNECT carries the login."""
        if url.scheme not in _TUNNELLED:
            return {"proxy": self.url}
        login = {} if self.authorization is None else {_AUTHORIZATION: self.authorization}
        return {"proxy": self.url, "proxy_headers": {"User-Agent": "mcp-relay", **login}}

    def headers_for(self, url: URL) -> dict[str, str]:
        """Return the headers that the proxy needs in each request that it reads; none for a tunnelled request."""
        if self.authorization is None or url.scheme in _TUNNELLED:
            return {}
        return {_AUTHORIZATION: self.authorization}


def proxy_for(url: URL, guard: EgressGuard | None = None) -> Proxy | None:
    """Return the proxy for ``url``, or None to connect directly. Raises ConfigError if the variable names no proxy.

    Behind ``guard`` the environment counts for nothing: its proxy would reach addresses that the guard refuses.
    """
    if guard is not None:
        return None if guard.proxy is None else _parse("--egress-proxy", guard.proxy)
    host, scheme = url.host or "", _SCHEMES.get(url.scheme, url.scheme)
    if is_loopback(host.rstrip(".")):
        return None
    proxies = urllib.request.getproxies()
    name = scheme if scheme in proxies else "all"
    if name not in proxies:
        return None
    # NO_PROXY may hold an IPv6 address with or without brackets.
    if any(urllib.request.proxy_bypass(one) for one in (f"{url.host_subcomponent}:{url.port}", host)):
        return None
    variable = f"{name.upper()}_PROXY"
    return _parse(variable, proxies[name], f"; NO_PROXY={host} bypasses the proxy")


def _parse(variable: str, text: str, remedy: str = "") -> Proxy:
    text = text if "://" in text else f"http://{text}"
    expected = f"expected http://host:port or https://host:port{remedy}"
    try:
        url, authorization = read_url(text)
    except ValueError:
        raise ConfigError(f"{variable} is not a proxy URL; {expected}") from None
    if url.scheme not in ("http", "https") or not url.host:
        kind = f" ({url.scheme}://…)" if url.scheme else ""
        raise ConfigError(f"{variable} is not the URL of a supported proxy{kind}; {expected}")
    return Proxy(url, authorization)
