"""How the relay logs in by OAuth to servers that ask for it: the options, and what they mean."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from relay.app.log.setup import mask_also
from relay.app.options.values import port, seconds
from relay.errors import ConfigError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from relay.endpoints.http.client.oauth.logins import OAuthLogins
    from relay.limits import Limits

__all__ = [
    "OF_OAUTH",
    "add_client_options",
    "add_oauth_options",
    "fields_of",
    "is_as_client_itself",
    "open_logins",
    "secret_value",
]

_LOGIN_SCHEMES = ("http:", "https:", "ws:", "wss:")
# Each option that has a field of OAuthOptions, and that field.
_FIELDS = {
    "client_id": "client_id",
    "oauth_issuer": "issuer",
    "client_assertion_audience": "client_assertion_audience",
    "client_metadata_url": "client_metadata_url",
    "scope": "scope",
    "resource": "resource",
    "auth_url": "authorization_url",
    "token_url": "token_url",
    "redirect_url": "redirect_uri",
    "callback_host": "callback_host",
    "callback_port": "callback_port",
    "auth_timeout": "auth_timeout",
    "profile": "profile",
    "token_store": "token_store",
    "oauth_assume_pkce": "assume_pkce",
    "oauth_allow_http": "allow_http",
    "oauth_allow_private": "allow_private",
    "oauth_legacy": "legacy",
    "pin_first_issuer": "pins_first_issuer",
}
OF_OAUTH = {
    **{
        name: f"--{name.replace('_', '-')}"
        for name in ("client_id", "client_secret", "token_url", "client_assertion_key", *_FIELDS)
    },
    "client_credentials": "--client-credentials",
    "device_code": "--device-code",
    "client_metadata": "--client-metadata",
    "authorize_param": "--authorize-param",
    "no_resource_parameter": "--no-resource-parameter",
    "no_browser": "--no-browser",
    "no_login": "--no-login",
}
"""Options without effect on a server that is no URL, by their attribute."""


def add_client_options(group: Any) -> None:
    """Add which client the relay is at an authorization server."""
    group.add_argument(
        "--client-id", metavar="ID",
        help="log in by OAuth as this client, which is registered already; with --client-secret and --token-url, and "
        "without --auth-url, log in as the client itself, without a person",
    )  # fmt: skip
    group.add_argument(
        "--client-secret", metavar="SECRET", help="the secret of --client-id: itself, env:VARIABLE or file:PATH"
    )
    group.add_argument("--token-url", metavar="URL", help="where to get tokens for --client-id")


def add_oauth_options(group: Any) -> None:
    """Add how a person, or the relay itself, logs in by OAuth."""
    add = group.add_argument
    add("--no-login", action="store_true", help="let a 401 be an error; by default the relay logs in by OAuth")
    add("--oauth-issuer", metavar="URL", help="the only authorization server to log in at, and to get --client-secret")
    add("--client-credentials", action="store_true", help="log in as the client itself, without a person")
    add(
        "--client-assertion-key", metavar="FILE",
        help="sign assertions with this private key, a PEM or JWK file, instead of --client-secret; or env:VARIABLE",
    )  # fmt: skip
    add("--client-assertion-audience", metavar="URL", help="the audience of assertions (default: the issuer)")
    add("--client-metadata-url", metavar="URL", help="the https address of a client's metadata, used as client id")
    add("--client-metadata", metavar="JSON", help="fields for the registration as a client; or file:PATH")
    add("--scope", metavar="SCOPES", help="request these scopes, not those that the server names")
    add("--resource", metavar="URL", help="request tokens for this resource, not the one that the server names")
    add("--no-resource-parameter", action="store_true", help="name no resource in requests; Entra ID needs that")
    add(
        "--authorize-param", action="append", default=[], metavar="NAME=VALUE",
        help="add this to the address where a person logs in (repeatable)",
    )  # fmt: skip
    add("--auth-url", metavar="URL", help="where a person logs in; with --token-url nothing is discovered")
    add("--redirect-url", metavar="URL", help="the address to which a person returns, if only this one is registered")
    add("--callback-host", metavar="HOST", default="127.0.0.1", help="its host (default 127.0.0.1), or localhost")
    add("--callback-port", type=port, metavar="PORT", help="its port (default: one that stays the same for a server)")
    add("--no-browser", action="store_true", help="open no browser: show the address only")
    add("--device-code", action="store_true", help="log in on another device, by a code (RFC 8628)")
    add("--auth-timeout", type=seconds, default=300.0, metavar="S", help="how long a request waits for a person (300)")
    add("--profile", default="", metavar="NAME", help="the account, for several accounts at one server")
    add(
        "--token-store", choices=("file", "keyring", "memory", "auto"), default="file",
        help="where logins are kept (default file; auto: the keyring if there is one)",
    )  # fmt: skip
    add("--oauth-assume-pkce", action="store_true", help="trust a server to check PKCE though it does not say so")
    add("--oauth-allow-http", action="store_true", help="let tokens and secrets go over http, in a private network")
    add("--oauth-allow-private", action="store_true", help="let a public server name a private authorization server")
    add("--oauth-legacy", action="store_true", help="assume the addresses of 2025-03-26 if there is no metadata")
    add(
        "--pin-first-issuer", action="store_true",
        help="instead of --oauth-issuer: the first one that the server names gets the secret, and no other ever",
    )  # fmt: skip


def is_as_client_itself(options: argparse.Namespace) -> bool:
    """Tell whether the relay logs in as a client, at a token endpoint that the operator names (RFC 6749, 4.4)."""
    return bool(options.client_id and options.client_secret and options.token_url and not options.auth_url)


def fields_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of ``OAuthOptions`` that options set. Raises ConfigError."""
    given = {field: getattr(options, name) for name, field in _FIELDS.items()}
    found = {field: value for field, value in given.items() if value is not None and value != _DEFAULTS.get(field)}
    if options.client_secret is not None:
        found["client_secret"] = secret_value(options.client_secret, "--client-secret")
    if options.client_assertion_key is not None:
        key = options.client_assertion_key
        place = key if key.startswith(("env:", "file:")) else f"file:{key}"
        found["client_assertion_key"] = secret_value(place, "--client-assertion-key")
    if options.client_credentials or is_as_client_itself(options):
        found["grant"] = "client"
    elif options.device_code:
        found["grant"] = "device"
    if options.authorize_param:
        found["authorize_params"] = tuple(map(_param, options.authorize_param))
    if options.client_metadata is not None:
        found["client_metadata"] = _metadata(options.client_metadata)
    if options.no_resource_parameter:
        found["sends_resource"] = False
    if options.no_browser:
        found["opens_browser"] = False
    return found


_DEFAULTS: Mapping[str, Any] = {
    "callback_host": "127.0.0.1",
    "auth_timeout": 300.0,
    "profile": "",
    "token_store": "file",
    **dict.fromkeys(("assume_pkce", "allow_http", "allow_private", "legacy", "pins_first_issuer"), False),
}


def open_logins(
    options: argparse.Namespace,
    addresses: Iterable[str],
    limits: Limits,
    *,
    ssl_context: ssl.SSLContext | None = None,
    may_ask: bool = True,
    tell: Callable[[str], None] | None = None,
) -> OAuthLogins | None:
    """Return the logins by OAuth at servers of ``addresses``; None if there can be none, or a key stands for them.

    Raises ConfigError.
    """
    if (
        options.no_login
        or getattr(options, "api_key", None) is not None
        or not any(one.lower().startswith(_LOGIN_SCHEMES) for one in addresses)
    ):
        return None
    from relay.endpoints.http.client.oauth.logins import OAuthLogins

    given = fields_of(options)
    mask_also([given[name] for name in ("client_secret", "client_assertion_key") if name in given])
    return OAuthLogins(given, ssl_context=ssl_context, limits=limits, may_ask=may_ask, tell=tell)


def secret_value(text: str, flag: str) -> str:
    """Return a secret that an option names: ``env:VARIABLE``, ``file:PATH``, or the secret. Raises ConfigError."""
    if text.startswith("env:"):
        value = os.environ.get(text[4:], "")
        if not value:
            raise ConfigError(f"{flag}: the variable {text[4:]} is not set")
        return value
    if not text.startswith("file:"):
        return text
    try:
        with open(os.path.expanduser(text[5:]), encoding="utf-8") as file:
            value = file.read().strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{flag}: {text[5:]!r} cannot be read: {exc}") from exc
    if not value:
        raise ConfigError(f"{flag}: {text[5:]!r} is empty")
    return value


def _param(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise ConfigError(f"--authorize-param: {name!r} is not NAME=VALUE")
    return name, value


def _metadata(text: str) -> dict[str, object]:
    import msgspec

    text = secret_value(text, "--client-metadata") if text.startswith("file:") else text
    try:
        found = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        found = None
    if not isinstance(found, dict):
        raise ConfigError("--client-metadata: expected a JSON object, or file:PATH")
    return found
