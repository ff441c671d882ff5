"""The options that say which logins of clients an HTTP listener accepts."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from relay.app.log.setup import mask_also
from relay.app.specs import ListenSpec
from relay.errors import ConfigError

if TYPE_CHECKING:
    from relay.auth.inbound.login import InboundLogin

__all__ = ["OF_ACCESS", "add_access_options", "has_login", "login_of", "withheld_variables"]

logger = logging.getLogger("relay")

OF_ACCESS = {"accept_token": "--accept-token"}
"""Options without effect where no HTTP listener is, by their attribute."""


def add_access_options(group: Any) -> None:
    """Add who may use HTTP listeners."""
    group.add_argument(
        "--accept-token", action="append", default=[], metavar="[NAME=]env:VARIABLE|file:PATH",
        help="admit only clients with a token from this variable or file, as Authorization: Bearer, X-API-Key or "
        "X-Proxy-Token; a file has one a line, after its NAME, and is read again at SIGHUP (repeatable)",
    )  # fmt: skip


def has_login(options: argparse.Namespace) -> bool:
    """Tell whether HTTP listeners want a login."""
    return bool(options.accept_token)


def login_of(options: argparse.Namespace, listens: Sequence[ListenSpec]) -> InboundLogin | None:
    """Return the logins that HTTP listeners accept; None if they want none. Raises ConfigError."""
    if not has_login(options):
        return None
    if not any(spec.kind == "http" for spec in listens):
        raise ConfigError("--accept-token: only HTTP listeners ask for a login; give one, or leave the option out")
    for spec in listens:
        if spec.kind in ("tcp", "unix"):
            logger.warning("--accept-token: a client of --listen %s needs no token; only HTTP can ask for one", spec)
    from relay.auth.inbound.login import InboundLogin
    from relay.auth.inbound.token_sources import TokenSources, is_weak, parse_source

    sources = TokenSources([parse_source(text, "--accept-token") for text in options.accept_token], "--accept-token")
    login = InboundLogin(sources)
    mask_also(login.secrets)
    for name, token in sources.read():
        if is_weak(token):
            logger.warning("the token of %s is short, so somebody may guess it: take 32 characters or more", name)
    return login


def withheld_variables(options: argparse.Namespace) -> list[str]:
    """Return the relay's variables that hold tokens of its clients: no child gets them."""
    places = (text if text.startswith("env:") else text.partition("=")[2] for text in options.accept_token)
    return [place.removeprefix("env:") for place in places if place.startswith("env:")]
