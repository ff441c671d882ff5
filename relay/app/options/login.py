"""How the relay logs in to the server at a URL: the options of sparfenyuk's mcp-proxy, as headers or as a login."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from relay.app.options.oauth import add_client_options, is_as_client_itself, secret_value
from relay.errors import ConfigError

if TYPE_CHECKING:
    from relay.auth.outbound.logins import Login

__all__ = ["add_login_options", "hidden_by_login", "log_in", "token_urls"]

_OF_A_CLIENT = {"client_id": "--client-id", "client_secret": "--client-secret", "token_url": "--token-url"}
_OF_A_USER = {"username": "--username", "password": "--password"}


def add_login_options(group: Any) -> None:
    """Add how to log in."""
    group.add_argument("--username", metavar="NAME", help="log in with HTTP Basic, together with --password")
    group.add_argument("--password", metavar="WORD", help="the password of --username")
    group.add_argument("--digest", action="store_true", help="log in with HTTP Digest instead")
    add_client_options(group)


def log_in(options: argparse.Namespace, headers: dict[str, str]) -> tuple[dict[str, str], Login | None]:
    """Return the headers with those of the login, and the login itself if it needs more. Raises ConfigError."""
    _check_complete(options)
    # With --client-credentials the relay also names the resource, as MCP wants: that is a login by OAuth.
    is_as_client = is_as_client_itself(options) and not options.client_credentials
    if not is_as_client and options.username is None:
        return headers, None
    from relay.auth.outbound.logins import ClientCredentials, DigestLogin, basic_authorization, check_token_url

    headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
    if is_as_client:
        check_token_url(options.token_url)
        secret = secret_value(options.client_secret, "--client-secret")
        return headers, ClientCredentials(options.client_id, secret, options.token_url)
    if ":" in options.username:
        raise ConfigError("--username: a colon cannot be part of it")
    if options.digest:
        return headers, DigestLogin(options.username, options.password)
    return {**headers, "Authorization": basic_authorization(options.username, options.password)}, None


def _check_complete(options: argparse.Namespace) -> None:
    for flags in (_OF_A_CLIENT, _OF_A_USER):
        given = [name for name in flags if getattr(options, name) is not None]
        if any(not getattr(options, name) for name in given):
            raise ConfigError(f"{_listed(flags)} are empty; give what they are to be, or leave them out")
        if flags is _OF_A_USER and len(given) == 1:
            missing = next(flag for name, flag in flags.items() if name not in given)
            raise ConfigError(f"{flags[given[0]]} has no effect without {missing}; give {_listed(flags)}, or none")
    if options.digest and options.username is None:
        raise ConfigError("--digest has no effect without --username and --password")


def _listed(flags: dict[str, str]) -> str:
    *first, last = flags.values()
    return f"{', '.join(first)} and {last}"


def hidden_by_login(options: argparse.Namespace, headers: dict[str, str]) -> list[str]:
    """Return a warning for each credential that another one overrides."""
    has_header = any(h.lower() == "authorization" for h in headers)
    if is_as_client_itself(options):
        hidden = ["API_ACCESS_TOKEN or -H Authorization"] if has_header else []
        hidden += ["--username"] if options.username is not None else []
        return [f"{one} is not used: --client-id is" for one in hidden]
    if options.username is not None:
        used, hidden = "--username", ["API_ACCESS_TOKEN or -H Authorization"] if has_header else []
    else:
        used, hidden = "API_ACCESS_TOKEN or -H Authorization", []
    if options.client_id is not None and (has_header or options.username is not None):
        hidden.append("--client-id")
    return [f"{one} is not used: {used} is" for one in hidden]


def token_urls(login: Login | None) -> list[str]:
    """Return the URLs where a login gets tokens: the options of TLS apply to them, too."""
    token_url = getattr(login, "token_url", None)
    return [] if token_url is None else [token_url]
