"""The options that say which clients a listener admits, and the checks of their values."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from relay.app.header_names import is_header_name
from relay.app.specs import ListenSpec
from relay.auth.origin import is_host, is_loopback, is_origin
from relay.errors import ConfigError

__all__ = ["ANY_PAGE", "add_admission_options", "add_page_options", "check_admission", "open_hosts"]

ANY_PAGE = "--allow-origin '*': any web page that your browser shows can use your server"


def add_admission_options(group: Any) -> None:
    """Add the options of admission."""
    add_page_options(group)
    group.add_argument(
        "--insecure-no-auth", action="store_true", help="listen beyond this machine without authentication"
    )


def add_page_options(group: Any) -> None:
    """Add the names of this server, and the web pages that may use it."""
    group.add_argument(
        "--allowed-host", action="append", default=[], metavar="HOST[:PORT]",
        help="a name under which clients reach this server (repeatable)",
    )  # fmt: skip
    group.add_argument(
        "--allow-origin", nargs="+", action="extend", default=[], metavar="ORIGIN",
        help="an origin whose web pages may use this server; '*' for all",
    )  # fmt: skip
    group.add_argument(
        "--expose-header", action="append", default=[], metavar="HEADER",
        help="a header of answers that those pages may read, besides Mcp-Session-Id (repeatable)",
    )  # fmt: skip


def check_admission(options: argparse.Namespace) -> None:
    """Check the values: argparse may have taken other arguments for them. Raises ConfigError."""
    for origin in options.allow_origin:
        if origin != "*" and not is_origin(origin):
            raise ConfigError(
                f"--allow-origin: {origin!r} is not an origin such as https://app.example.com or "
                "http://localhost:3000, nor '*' for all; if it is the command or the URL, put -- before it"
            )
    for host in options.allowed_host:
        if not is_host(host):
            raise ConfigError(
                f"--allowed-host: {host!r} is not a name or an address, with or without :PORT, as it stands in Host"
            )
    for name in options.expose_header:
        if not is_header_name(name):
            raise ConfigError(f"--expose-header: {name!r} is not a header name such as X-Request-Id")


def open_hosts(listens: Iterable[ListenSpec]) -> list[str]:
    """Return the hosts to listen on that other machines can reach."""
    return sorted({spec.host for spec in listens if spec.kind in ("http", "tcp") and not is_loopback(spec.host)})
