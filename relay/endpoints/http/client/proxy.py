"""The HTTP proxy before a server, as the environment names it: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY.

What they mean is what they mean to Python's ``urllib.request``, with two additions: ALL_PROXY counts where the one for
the scheme is missing, as for curl, and a loopback address is never asked for through a proxy, as in Go. A proxy would
look for it on its own machine, with whatever token was meant for ours.
"""

from __future__ import annotations

import urllib.request
from dataclasses import dataclass, field
from typing import Any

from yarl import URL

from relay.auth.origin import is_loopback
from relay.endpoints.http.address import read_url
from relay.errors import ConfigError

__all__ = ["Proxy", "proxy_for"]

_SCHEMES = {"ws": "http", "wss": "https"}
_TUNNELLED = ("https", "wss")
_AUTHORIZATION = "Proxy-Authorization"


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, and who we are to it."""

    url: URL
    """Without a login, so that it can be shown."""
    authorization: str | None = field(default=None, repr=False)
    """What ``Proxy-Authorization`` says."""

    def __str__(self) -> str:
        """Return its address, without a login."""
        return str(self.url.origin())

    def request_arguments(self, url: URL) -> dict[str, Any]:
        """Return what aiohttp is told of it with each request; the login goes with CONNECT, where there is one."""
        if url.scheme not in _TUNNELLED:
            return {"proxy": self.url}
        login = {} if self.authorization is None else {_AUTHORIZATION: self.authorization}
        return {"proxy": self.url, "proxy_headers": {"User-Agent": "mcp-relay", **login}}

    def headers_for(self, url: URL) -> dict[str, str]:
        """Return what it wants to find in each request that it reads itself; never in one that is tunnelled."""
        if self.authorization is None or url.scheme in _TUNNELLED:
            return {}
        return {_AUTHORIZATION: self.authorization}


def proxy_for(url: URL) -> Proxy | None:
    """Return the proxy through which to ask for ``url``; None: directly. Raises ConfigError if it is none."""
    host, scheme = url.host or "", _SCHEMES.get(url.scheme, url.scheme)
    if is_loopback(host.rstrip(".")):
        return None
    proxies = urllib.request.getproxies()
    name = scheme if scheme in proxies else "all"
    if name not in proxies:
        return None
    # An IPv6 address is written either way in NO_PROXY.
    if any(urllib.request.proxy_bypass(one) for one in (f"{url.host_subcomponent}:{url.port}", host)):
        return None
    return _parse(f"{name.upper()}_PROXY", proxies[name], host)


def _parse(variable: str, text: str, host: str) -> Proxy:
    text = text if "://" in text else f"http://{text}"
    expected = f"expected http://host:port, or https://; NO_PROXY={host} goes without"
    try:
        url, authorization = read_url(text)
    except ValueError:
        raise ConfigError(f"{variable} is not the URL of a proxy; {expected}") from None
    if url.scheme not in ("http", "https") or not url.host:
        kind = f" ({url.scheme}://…)" if url.scheme else ""
        raise ConfigError(f"{variable} is not the URL of a proxy of a kind that is known{kind}; {expected}")
    return Proxy(url, authorization)
