"""The options that say which logins of clients an HTTP listener accepts."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from ssl import SSLContext
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from relay.addresses import shown_address
from relay.app.header_names import HEADERS_IGNORED, HEADERS_REFUSED, is_header_name
from relay.app.log.setup import mask_also
from relay.app.options.secrets import read_secret
from relay.app.specs import ListenSpec
from relay.auth.origin import is_loopback
from relay.errors import ConfigError

if TYPE_CHECKING:
    from relay.auth.inbound.claims import Expected
    from relay.auth.inbound.login import InboundLogin, IssuedTokens
    from relay.auth.inbound.rates import Rates
    from relay.auth.inbound.token_sources import TokenSources

__all__ = [
    "add_rate_option",
    "add_traffic_options",
    "forwarded_headers",
    "rates_of",
    "OF_ACCESS",
    "add_access_options",
    "has_login",
    "issuer_urls",
    "login_of",
    "public_host",
    "withheld_variables",
]

logger = logging.getLogger("relay")

OF_ACCESS = {
    "accept_token": "--accept-token",
    "auth": "--auth",
    "issuer": "--issuer",
    "audience": "--audience",
    "required_scope": "--required-scope",
    "jwks_url": "--jwks-url",
    "introspection_url": "--introspection-url",
    "introspection_client_id": "--introspection-client-id",
    "introspection_client_secret": "--introspection-client-secret",
    "public_url": "--public-url",
    "forward_header": "--forward-header",
    "rate": "--rate",
}
"""Options without effect where no HTTP listener is, by their attribute."""
_OF_INTROSPECTION = ("introspection_url", "introspection_client_id", "introspection_client_secret")
_OF_AUTH = ("issuer", "audience", "required_scope", "jwks_url", *_OF_INTROSPECTION)


def add_access_options(group: Any) -> None:
    """Add who may use HTTP listeners."""
    group.add_argument(
        "--accept-token", action="append", default=[], metavar="[NAME=]env:VARIABLE|file:PATH",
        help="admit only clients with a token from this variable or file, as Authorization: Bearer, X-API-Key or "
        "X-Proxy-Token; a file has one a line, after its NAME, and is read again at SIGHUP (repeatable)",
    )  # fmt: skip
    group.add_argument(
        "--auth", choices=("jwt", "introspection"),
        help="admit clients with a token of --issuer: one that it has signed, or one that it calls active",
    )  # fmt: skip
    group.add_argument("--issuer", metavar="URL", help="the authorization server, exactly as its tokens name it")
    group.add_argument(
        "--audience", metavar="TEXT", help="what its tokens for this relay are for (default: the URL at --public-url)"
    )
    group.add_argument(
        "--required-scope", action="append", default=[], metavar="SCOPE",
        help="what a token must allow (repeatable)",
    )  # fmt: skip
    group.add_argument("--jwks-url", metavar="URL", help="where its keys are; by default where its metadata says")
    group.add_argument("--introspection-url", metavar="URL", help="where to ask about a token (RFC 7662)")
    group.add_argument("--introspection-client-id", metavar="ID", help="as whom to ask there")
    group.add_argument(
        "--introspection-client-secret", metavar="SECRET", help="its secret, as env:VARIABLE or file:PATH"
    )
    group.add_argument(
        "--public-url", metavar="URL",
        help="the URL below which clients reach this relay, as https://mcp.example.com (needed beyond this machine)",
    )  # fmt: skip


def add_traffic_options(group: Any) -> None:
    """Add how much each client may send, and what of it goes on to the server."""
    add_rate_option(group)
    group.add_argument(
        "--forward-header", action="append", default=[], metavar="HEADER",
        help="send this header of clients on to the server at a URL (repeatable)",
    )  # fmt: skip


def add_rate_option(group: Any) -> None:
    """Add how much each client may send."""
    group.add_argument(
        "--rate", type=_rate, metavar="N/s",
        help="the requests of one client: N a second (N/s), a minute (N/m) or an hour (N/h); without a login, of one "
        "address",
    )  # fmt: skip


_PERIODS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def _rate(text: str) -> tuple[int, float]:
    count, _, unit = text.partition("/")
    unit = unit or "s"
    if not count.isascii() or not count.isdigit() or not 0 < int(count) < 10**9 or unit not in _PERIODS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a rate such as 10/s, 600/m or 5000/h")
    return int(count), _PERIODS[unit]


def rates_of(options: argparse.Namespace) -> Rates | None:
    """Return how many requests each client may send; None: any number."""
    if options.rate is None:
        return None
    from relay.auth.inbound.rates import Rate, Rates

    return Rates(Rate(*options.rate))


def forwarded_headers(options: argparse.Namespace) -> list[str]:
    """Return the headers of clients that go on to the server. Raises ConfigError."""
    for name in options.forward_header:
        if not is_header_name(name):
            raise ConfigError(f"--forward-header: {name!r} is not a header name such as X-Tenant")
        if name.lower() in (*HEADERS_REFUSED, *HEADERS_IGNORED, *_OF_A_HOP):
            raise ConfigError(f"--forward-header: {name!r} belongs to the transport, which sets it where it is due")
        if name.lower() in _CREDENTIALS and has_login(options):
            logger.warning("--forward-header %s: the server gets what clients log in with here, and can use it", name)
    if options.forward_header and getattr(options, "share", None) in ("shared", "stateless"):
        raise ConfigError(f"--forward-header: clients share a server with --share {options.share}; leave one out")
    return list(options.forward_header)


_OF_A_HOP = ("cookie", "forwarded", "mcp-relay-hops", "mcp-relay-trail", "proxy-authorization", "proxy-connection")
_CREDENTIALS = ("authorization", "x-api-key", "x-proxy-token")


def has_login(options: argparse.Namespace) -> bool:
    """Tell whether HTTP listeners want a login."""
    return bool(options.accept_token) or options.auth is not None


def login_of(
    options: argparse.Namespace, listens: Sequence[ListenSpec], tls: SSLContext | None = None
) -> InboundLogin | None:
    """Return the logins that HTTP listeners accept; None if they want none. Raises ConfigError.

    ``tls`` is the context for the authorization server.
    """
    _check(options)
    if not has_login(options):
        return (
            _by_certificate()
            if any(spec.kind == "http" and spec.is_tls for spec in listens) and (options.tls_client_ca is not None)
            else None
        )
    flag = "--accept-token" if options.accept_token else "--auth"
    if not any(spec.kind == "http" for spec in listens):
        raise ConfigError(f"{flag}: only HTTP listeners ask for a login; give one, or leave the option out")
    for spec in listens:
        if spec.kind in ("tcp", "unix"):
            logger.warning("%s: a client of --listen %s needs no token; only HTTP can ask for one", flag, spec)
    from relay.auth.inbound.login import InboundLogin

    if options.auth is None:
        return _with_masks(InboundLogin(_tokens(options)))
    from relay.auth.inbound.claims import Expected
    from relay.auth.inbound.metadata import ResourceMetadata

    public_url, scopes = _public_url(options, listens), tuple(" ".join(options.required_scope).split())
    login = InboundLogin(_tokens(options), ResourceMetadata(options.issuer, scopes, public_url))
    expected = Expected(options.issuer, options.audience or f"{public_url}{_mcp_path(options)}", scopes)
    login.issued = _issued(options, expected, login, tls)
    return _with_masks(login)


def _by_certificate() -> InboundLogin:
    """Return the login of listeners that demand a certificate and no token."""
    from relay.auth.inbound.login import InboundLogin

    login = InboundLogin()
    login.by_certificate = True
    return login


def _with_masks(login: InboundLogin) -> InboundLogin:
    mask_also(login.secrets)
    return login


def _tokens(options: argparse.Namespace) -> TokenSources | None:
    if not options.accept_token:
        return None
    from relay.auth.inbound.token_sources import TokenSources, is_weak, parse_source

    sources = TokenSources([parse_source(text, "--accept-token") for text in options.accept_token], "--accept-token")
    for name, token in sources.read():
        if is_weak(token):
            logger.warning("the token of %s is short, so somebody may guess it: take 32 characters or more", name)
    return sources


def _issued(
    options: argparse.Namespace, expected: Expected, login: InboundLogin, tls: SSLContext | None
) -> IssuedTokens:
    from relay.endpoints.http.client.oauth.web import AuthorizationWeb

    web = AuthorizationWeb(tls)
    if options.auth == "introspection":
        from relay.auth.inbound.introspection import IntrospectionClient, IntrospectionLogin

        secret = read_secret(options.introspection_client_secret, "--introspection-client-secret")
        mask_also([secret])
        client = IntrospectionClient(options.introspection_url, options.introspection_client_id, secret)
        return IntrospectionLogin(web, expected, client)
    try:
        from relay.auth.inbound.jwt import JwtLogin
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] not in ("joserfc", "cryptography"):
            raise
        raise ConfigError("--auth jwt needs joserfc (pip install 'mcp-frame-relay[jwt]')") from None
    return JwtLogin(web, expected, options.jwks_url, login.changed)


def issuer_urls(options: argparse.Namespace) -> list[str]:
    """Return the URLs of the authorization server: the options of TLS apply to them, too."""
    urls = (getattr(options, name, None) for name in ("issuer", "jwks_url", "introspection_url"))
    return [url for url in urls if url is not None]


def public_host(options: argparse.Namespace) -> list[str]:
    """Return the name in ``--public-url``, which clients send in ``Host``."""
    return [urlsplit(options.public_url).netloc] if options.public_url is not None else []


def withheld_variables(options: argparse.Namespace) -> list[str]:
    """Return the relay's variables that hold secrets of clients' logins: no child gets them."""
    places = [text if text.startswith("env:") else text.partition("=")[2] for text in options.accept_token]
    places.append(options.introspection_client_secret or "")
    return [place.removeprefix("env:") for place in places if place.startswith("env:")]


# The values.


def _check(options: argparse.Namespace) -> None:
    """Check that options which belong together are there, and that URLs are safe. Raises ConfigError."""
    if options.auth is None:
        for name in _OF_AUTH:
            if getattr(options, name):
                raise ConfigError(f"{OF_ACCESS[name]} has no effect without --auth jwt or --auth introspection")
    else:
        missing = list(_missing(options))
        if missing:
            raise ConfigError(f"--auth {options.auth} needs {' and '.join(missing)}, too")
    foreign = _OF_INTROSPECTION if options.auth == "jwt" else ("jwks_url",)
    for name in foreign:
        if getattr(options, name):
            raise ConfigError(f"{OF_ACCESS[name]} has no effect with --auth {options.auth}")
    for name in ("issuer", "jwks_url", "introspection_url", "public_url"):
        if (url := getattr(options, name)) is not None:
            _check_url(OF_ACCESS[name], url, may_have_query=name != "public_url")


def _missing(options: argparse.Namespace) -> Iterator[str]:
    if options.issuer is None:
        yield "--issuer"
    if options.audience is None and options.public_url is None:
        yield "--audience (or --public-url)"
    if options.auth == "introspection":
        yield from (OF_ACCESS[name] for name in _OF_INTROSPECTION if not getattr(options, name))


def _check_url(flag: str, url: str, *, may_have_query: bool) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or "@" in parts.netloc or "#" in url:
        raise ConfigError(f"{flag}: {shown_address(url)!r} is not a URL of the form https://host/path")
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigError(f"{flag}: {shown_address(url)!r} would show tokens on their way; it must begin with https://")
    if "?" in url and not may_have_query:
        raise ConfigError(f"{flag}: {shown_address(url)!r} has a query")


def _mcp_path(options: argparse.Namespace) -> str:
    path: str = getattr(options, "mcp_path", None) or "/mcp"
    return path


def _public_url(options: argparse.Namespace, listens: Sequence[ListenSpec]) -> str:
    """Return the URL below which clients reach the relay; empty where they reach it on this machine only."""
    if options.public_url is not None:
        public_url: str = options.public_url
        return public_url.rstrip("/").removesuffix(_mcp_path(options)).rstrip("/")
    for spec in listens:
        if spec.kind == "http" and (spec.path or not is_loopback(spec.host)):
            raise ConfigError(f"--auth at {spec} needs --public-url, by which clients learn where they get tokens")
    return ""
