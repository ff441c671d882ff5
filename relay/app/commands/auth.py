"""``mcp-relay auth login|status|logout|import``: log in to servers before they are used, see logins, and end them."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from relay.addresses import shown_address
from relay.app.log.stderr import StderrSink, say
from relay.app.options.log import add_log_options, begin_log
from relay.app.options.oauth import add_client_options, add_oauth_options, fields_of
from relay.app.options.parser import Parser
from relay.app.options.tls import add_dial_tls_options, dial_tls
from relay.app.specs import is_address
from relay.errors import ConfigError

if TYPE_CHECKING:
    from relay.endpoints.http.client.oauth.account import Account
    from relay.endpoints.http.client.oauth.accounts import LoginStatus

__all__ = ["auth", "build_parser"]

_DESCRIPTION = """\
Log in to servers before they are used, see the logins that are kept here, and end them.

  mcp-relay auth login URL      open a browser, and keep the login
  mcp-relay auth status         list the logins, without secrets
  mcp-relay auth logout URL     revoke a login, and delete it here; --all: every one
  mcp-relay auth import URL     take over the login of mcp-remote

The relay also logs in by itself, when a server answers 401.
"""
_OTHER_DEVICE = (
    "The browser may run on another machine: copy the address of the page to which it was sent at the end, "
    "paste it here and press Enter."
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this command's arguments."""
    parser = Parser(prog="mcp-relay auth", description=_DESCRIPTION, allow_abbrev=False)
    kinds = parser.add_subparsers(dest="what", required=True, metavar="login|status|logout|import")
    for word, text in (
        ("login", "log in to a server"),
        ("status", "list the logins"),
        ("logout", "end a login"),
        ("import", "take over a login of mcp-remote"),
    ):
        one = kinds.add_parser(word, help=text, description=text, allow_abbrev=False)
        is_for_all = word in ("status", "logout")
        one.add_argument("url", nargs="?" if is_for_all else None, metavar="URL", help="the server's address")
        if word == "logout":
            one.add_argument("--all", action="store_true", dest="is_all", help="end every login that is kept here")
        if word == "status":
            one.add_argument("--json", action="store_true", dest="as_json", help="one JSON array")
        oauth = one.add_argument_group("the login")
        add_client_options(oauth)
        add_oauth_options(oauth)
        add_dial_tls_options(one.add_argument_group("to the server"))
        add_log_options(one.add_argument_group("log"))
    return parser


def auth(args: Sequence[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    """Return the job that these arguments ask for. Raises ConfigError."""
    options = build_parser().parse_args(args)
    begin_log(options, (), sink)
    if options.url is not None and not (is_address(options.url) and options.url.lower().startswith(("http", "ws"))):
        raise ConfigError(f"{shown_address(options.url)!r} is not a URL of the form https://host/path")
    jobs = {"login": _login, "status": _status, "logout": _logout, "import": _import}
    return jobs[options.what](options, sink)


def _account(options: argparse.Namespace, sink: StderrSink, url: str, **more: Any) -> Account:
    """Return the account at a server. Raises ConfigError."""
    from relay.auth.outbound.oauth.options import OAuthOptions, check_options
    from relay.auth.outbound.oauth.urls import UnusableUrl
    from relay.endpoints.http.client.oauth.accounts import open_account

    fields = OAuthOptions(**{**fields_of(options), **more})
    check_options(fields)
    tls = dial_tls(options, [url], sink)
    try:
        return open_account(url, fields, ssl_context=tls, tell=lambda line: say(sink, line))
    except UnusableUrl as exc:
        raise ConfigError(str(exc)) from exc


async def _login(options: argparse.Namespace, sink: StderrSink) -> int:
    from relay.endpoints.http.client.oauth.accounts import log_in_now

    account = _account(options, sink, options.url)
    if options.no_browser and not options.device_code and sys.stdin is not None:
        say(sink, _OTHER_DEVICE)
        status = await log_in_now(account, paste=_PastedLines().next)
    else:
        status = await log_in_now(account)
    _print(_line(status))
    return 0


class _PastedLines:
    """The lines of stdin, read in a thread that nobody waits for at the end of the program."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[str] = asyncio.Queue()
        self._has_begun = False

    async def next(self) -> str:
        """Return the next line; wait for ever at the end of stdin: the browser may still come here by itself."""
        if not self._has_begun:
            import threading

            self._has_begun = True
            loop = asyncio.get_running_loop()
            threading.Thread(target=self._read, args=(loop,), daemon=True).start()
        return await self._lines.get()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        for line in sys.stdin:
            if line.strip():
                loop.call_soon_threadsafe(self._lines.put_nowait, line)


async def _status(options: argparse.Namespace, sink: StderrSink) -> int:
    found = _logins(options)
    if options.as_json:
        import msgspec

        _print(msgspec.json.encode(found).decode())
        return 0
    for one in found:
        _print(_line(one))
    if not found:
        where = shown_address(options.url) if options.url is not None else "any server"
        _print(f"no login for {where}")
    return 0 if found or options.url is None else 1


def _logins(options: argparse.Namespace) -> list[LoginStatus]:
    """Return the logins that are kept here, of one server or of all. Raises RelayError."""
    from relay.auth.outbound.oauth.urls import UnusableUrl, canonical_url
    from relay.endpoints.http.client.oauth.accounts import list_logins
    from relay.endpoints.http.client.oauth.stores import open_store

    try:
        url = None if options.url is None else canonical_url(options.url)
    except UnusableUrl as exc:
        raise ConfigError(str(exc)) from exc
    return [one for one in list_logins(open_store(options.token_store, None)) if url in (None, one.url)]


def _line(one: LoginStatus) -> str:
    """Describe a login in a line, without secrets."""
    account = f" (account {one.profile})" if one.profile else ""
    end = "no known end" if one.expires_at is None else _end(one.expires_at)
    renewed = ", renewed by itself" if one.is_refreshable else ""
    kept = "in memory until this command ends" if one.kept_in == "memory" else f"in {one.kept_in} {one.directory}"
    return (
        f"{one.url}{account}: logged in at {one.issuer} as {one.client_id}, scopes: {one.scope or 'as given'}, "
        f"{end}{renewed}, kept {kept}"
    )


def _end(expires_at: float) -> str:
    minutes = int(abs(expires_at - time.time()) // 60)
    shown = f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
    return f"token good for {shown}" if expires_at > time.time() else f"token expired {shown} ago"


async def _logout(options: argparse.Namespace, sink: StderrSink) -> int:
    from relay.endpoints.http.client.oauth.accounts import log_out

    if (options.url is None) != options.is_all:
        raise ConfigError("auth logout: name the server's URL, or say --all")
    wanted = [(one.url, one.profile) for one in _logins(options) if options.is_all or one.profile == options.profile]
    for url, profile in wanted:
        report = await log_out(_account(options, sink, url, profile=profile))
        said = "revoked and deleted" if report.is_revoked else f"deleted here, but not revoked: {report.why_not}"
        _print(f"{url}{f' (account {profile})' if profile else ''}: {said}")
    if not wanted:
        _print("no login to end")
    return 0


async def _import(options: argparse.Namespace, sink: StderrSink) -> int:
    from relay.endpoints.http.client.oauth.accounts import import_from_mcp_remote

    status = await import_from_mcp_remote(_account(options, sink, options.url), options.url)
    _print(_line(status))
    say(sink, "the next refresh may end the copy of mcp-remote, because many servers accept a refresh token only once")
    return 0


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
