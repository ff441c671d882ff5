"""Which URLs the OAuth client may use, and how the URL of a server compares with a resource (RFC 8707, RFC 9728)."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from relay.addresses import shown_address
from relay.auth.origin import is_loopback

__all__ = ["UnusableUrl", "canonical_url", "check_endpoint", "covers", "is_secure", "is_usable_document", "origin_of"]

_PORTS = {"http": 80, "https": 443}
_LONGEST = 2048
_REFUSED = frozenset("\"'`\\<>^{|} ")


class UnusableUrl(ValueError):
    """A URL that the relay does not use. The message says why, and shows the URL without its query."""


def _split(url: str) -> SplitResult:
    """Split a URL of http or https. Raises UnusableUrl."""
    shown = shown_address(url)[:200]
    if len(url) > _LONGEST:
        raise UnusableUrl(f"{shown!r} is longer than {_LONGEST} characters")
    if any(not "!" <= character <= "~" or character in _REFUSED for character in url):
        raise UnusableUrl(f"{shown!r} has a character that no URL may have")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise UnusableUrl(f"{shown!r} is not a URL") from None
    if parts.scheme not in _PORTS or not host:
        raise UnusableUrl(f"{shown!r} is not a URL of the form https://host/path")
    if "@" in parts.netloc:
        raise UnusableUrl(f"{shown!r} has a user name in it")
    return parts


def check_endpoint(url: str, *, allow_http: bool = False, may_have_fragment: bool = False) -> str:
    """Return a URL of an authorization server as it is: https, or http on this machine. Raises UnusableUrl."""
    parts = _split(url)
    if "#" in url and not may_have_fragment:
        raise UnusableUrl(f"{shown_address(url)!r} has a fragment")
    if not is_secure(parts, allow_http=allow_http):
        raise UnusableUrl(
            f"{shown_address(url)!r} would show tokens on their way; expected https://, or --oauth-allow-http"
        )
    return url


def is_secure(parts: SplitResult, *, allow_http: bool = False) -> bool:
    """Tell whether nobody on the way can read what is sent to a URL."""
    return parts.scheme == "https" or allow_http or is_loopback((parts.hostname or "").rstrip("."))


def is_usable_document(url: str) -> bool:
    """Tell whether a URL can be a client id: a metadata document under https, with a path of its own."""
    try:
        parts = _split(url)
    except UnusableUrl:
        return False
    return parts.scheme == "https" and parts.path not in ("", "/") and not parts.fragment


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL, in the canonical form. Raises UnusableUrl."""
    return _origin(_split(url))


def _origin(parts: SplitResult) -> str:
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, _PORTS[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def canonical_url(url: str) -> str:
    """Return the canonical URI of a server: no default port, no query, no fragment, no slash for the root.

    MCP 2026-07-28, authorization, "Canonical Server URI". WebSocket addresses count as those of HTTP. Raises
    UnusableUrl.
    """
    scheme, mark, rest = url.partition("://")
    scheme = {"ws": "http", "wss": "https"}.get(scheme.lower(), scheme)
    parts = _split(f"{scheme}{mark}{rest}")
    return _origin(parts) + ("" if parts.path == "/" else parts.path)


def covers(resource: str, url: str) -> bool:
    """Tell whether a token for ``resource`` is meant for the server at ``url``.

    It is if both have one origin, and the resource's path is that of the server or a parent of it: ``/mcp`` covers
    ``/mcp/a`` and not ``/mcp2``.
    """
    try:
        parts, server = _split(resource), canonical_url(url)
        if parts.fragment or _origin(parts) != origin_of(server):
            return False
        path, of_server = parts.path.rstrip("/"), urlsplit(server).path.rstrip("/")
    except UnusableUrl:
        return False
    if any(segment in (".", "..") for segment in of_server.replace("%2e", ".").replace("%2E", ".").split("/")):
        return path == ""
    return of_server == path or of_server.startswith(path + "/")
