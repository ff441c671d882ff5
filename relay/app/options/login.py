"""How the relay logs in to the server at a URL: the options of sparfenyuk's mcp-proxy, as headers or as a login."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

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
    group.add_argument(
        "--client-id", metavar="ID",
        help="log in with OAuth's client credentials, together with --client-secret and --token-url",
    )  # fmt: skip
    group.add_argument("--client-secret", metavar="SECRET", help="the secret of --client-id")
    group.add_argument("--token-url", metavar="URL", help="where to get tokens for --client-id")


def log_in(options: argparse.Namespace, headers: dict[str, str]) -> tuple[dict[str, str], Login | None]:
    """Return the headers with those of the login, and the login itself if it needs more. Raises ConfigError."""
    _check_complete(options)
    if options.client_id is None and options.username is None:
        return headers, None
    from relay.auth.outbound.logins import ClientCredentials, DigestLogin, basic_authorization, check_token_url

    headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
    if options.client_id is not None:
        check_token_url(options.token_url)
        return headers, ClientCredentials(options.client_id, options.client_secret, options.token_url)
    if ":" in options.username:
        raise ConfigError("--username: a colon cannot be part of it")
    if options.digest:
        return headers, DigestLogin(options.username, options.password)
    return {**headers, "Authorization": basic_authorization(options.username, options.password)}, None


def _check_complete(options: argparse.Namespace) -> None:
    for flags in (_OF_A_CLIENT, _OF_A_USER):
        missing = [flag for name, flag in flags.items() if not getattr(options, name)]
        if missing and len(missing) < len(flags):
            given = next(flag for name, flag in flags.items() if flag not in missing)
            raise ConfigError(f"{given} has no effect without {' and '.join(missing)}; give {_listed(flags)}, or none")
        if missing and any(getattr(options, name) is not None for name in flags):
            raise ConfigError(f"{_listed(flags)} are empty; give what they are to be, or leave them out")
    if options.digest and options.username is None:
        raise ConfigError("--digest has no effect without --username and --password")


def _listed(flags: dict[str, str]) -> str:
    *first, last = flags.values()
    return f"{', '.join(first)} and {last}"


def hidden_by_login(options: argparse.Namespace, headers: dict[str, str]) -> list[str]:
    """Return a warning for each credential that another one overrides."""
    if options.client_id is None and options.username is None:
        return []
    used = "--client-id" if options.client_id is not None else "--username"
    hidden = ["API_ACCESS_TOKEN or -H Authorization"] if any(h.lower() == "authorization" for h in headers) else []
    if used == "--client-id" and options.username is not None:
        hidden.append("--username")
    return [f"{one} is not used: {used} is" for one in hidden]


def token_urls(login: Login | None) -> list[str]:
    """Return the URLs where a login gets tokens: the options of TLS apply to them, too."""
    token_url = getattr(login, "token_url", None)
    return [] if token_url is None else [token_url]
