"""Admit or refuse an HTTP request by Host and Origin: the defence against web pages and DNS rebinding.

Pure. A page of any site can make a browser send requests to 127.0.0.1, with DNS rebinding even under the page's own
name. But a page cannot forge ``Host`` and ``Origin``. MCP 2025-11-25, Streamable HTTP, "Security Warning".
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

__all__ = ["OriginPolicy", "is_host", "is_loopback", "is_origin"]

_NAME = r"[\w-]+(?:\.[\w-]+)*\.?"  # browsers send other letters as xn--…
# The whole of Host (RFC 9110 §7.2): ``evil.com[::1]`` is no address in brackets.
_AUTHORITY = re.compile(rf"(?:\[([0-9A-Fa-f:.]+)\]|({_NAME}))(?::(\d{{0,5}}))?", re.ASCII)
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([^/?#@\s*]+)/?", re.IGNORECASE)
_MOST_PORT = 65535


def is_loopback(host: str) -> bool:
    """Tell whether a name or address to bind is reachable from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(_without_brackets(host))
    except ValueError:
        return False
    # Python until 3.12 and from 3.13 on disagree about ``::ffff:127.0.0.1``, a spelling that no operator needs.
    return address.is_loopback and getattr(address, "ipv4_mapped", None) is None


def is_host(text: str) -> bool:
    """Tell whether this can stand in ``Host``: a name or an address, perhaps with a port."""
    return _is_address(text) or _host_name(text) is not None


def is_origin(text: str) -> bool:
    """Tell whether a browser can send this as ``Origin``, but for a last slash: ``scheme://host[:port]``, ``null``."""
    found = _ORIGIN.fullmatch(text)
    return text == "null" or (found is not None and _host_name(found[1]) is not None)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _host_name(value: str) -> str | None:
    """Return the host of ``host[:port]``, lower case and without brackets, or None if it is not one."""
    found = _AUTHORITY.fullmatch(value)
    if found is None or int(found[3] or 0) > _MOST_PORT:
        return None
    if found[2] is not None:
        return found[2].lower()
    return found[1].lower() if _is_address(found[1]) and ":" in found[1] else None


def _without_brackets(host: str) -> str:
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


class OriginPolicy:
    """Which hosts and origins a listener admits.

    A listener admits loopback names wherever it is bound: a page that used DNS rebinding has its own name in ``Host``,
    and ``Origin`` reveals a page of this machine. A listener on loopback admits no other name. A listener on another
    address cannot know its own names, so it checks ``Host`` only if ``allowed_hosts`` lists them.
    """

    def __init__(
        self,
        bind_host: str,
        allowed_hosts: Iterable[str] = (),
        allowed_origins: Iterable[str] = (),
        exposed_headers: Iterable[str] = (),
    ) -> None:
        """Admit ``allowed_hosts`` (``name`` or ``name:port``) and ``allowed_origins`` (exact, or ``*``) besides.

        Pages of those origins may read ``exposed_headers`` of answers, besides the two that the protocol needs.
        """
        self._loopback = is_loopback(bind_host)
        self._hosts = {_without_brackets(host.lower()) for host in allowed_hosts}
        self._origins = {origin.lower().rstrip("/") for origin in allowed_origins}
        self.any_origin = "*" in self._origins
        self._exposed = ", ".join(("Mcp-Session-Id", "WWW-Authenticate", *exposed_headers))
        # Clients send the same few values with every request. The set is bounded, because a client may invent values.
        self._known_hosts: set[str] = set()

    def admits_host(self, host: str | None) -> bool:
        """Tell whether a request with this ``Host`` header is meant for this listener (else 421)."""
        if host is None:
            return not self._loopback and not self._hosts
        if host in self._known_hosts:
            return True
        if not self._check_host(host):
            return False
        if len(self._known_hosts) < 64:
            self._known_hosts.add(host)
        return True

    def _check_host(self, host: str) -> bool:
        name = _host_name(host)
        if name is None:
            return False
        if name in self._hosts or host.lower() in self._hosts or is_loopback(name):
            return True
        return not self._loopback and not self._hosts

    def admits_origin(self, origin: str | None, fetch_site: str | None = None) -> bool:
        """Tell whether the page that sent a request is admitted (else 403). A program sends no Origin."""
        if origin is None:
            return fetch_site != "cross-site"
        if self.any_origin or origin.lower().rstrip("/") in self._origins:
            return True
        scheme, separator, authority = origin.partition("://")
        if not separator or scheme.lower() not in ("http", "https"):
            return False
        name = _host_name(authority)
        if name is None:
            return False
        if name in self._hosts or authority.lower() in self._hosts:
            return True
        return self._loopback and is_loopback(name)

    def cors_headers(self, origin: str | None, requested_headers: str | None = None) -> dict[str, str]:
        """Return the CORS headers for a request of ``origin``; empty unless the operator allowed that origin.

        A preflight (``requested_headers``) admits every requested header, because later revisions may add ``Mcp-*``
        headers. Credentials are never admitted.
        """
        if origin is None or not (self.any_origin or origin.lower().rstrip("/") in self._origins):
            return {}
        headers = {
            "Access-Control-Allow-Origin": "*" if self.any_origin else origin,
            "Access-Control-Expose-Headers": self._exposed,
            "Vary": "Origin",
        }
        if requested_headers is not None:
            headers["Access-Control-Allow-Methods"] = "GET, POST, DELETE, OPTIONS"
            headers["Access-Control-Allow-Headers"] = requested_headers or (
                "Content-Type, Accept, Authorization, Last-Event-ID, Mcp-Session-Id, MCP-Protocol-Version"
            )
            headers["Access-Control-Max-Age"] = "600"
        return headers
