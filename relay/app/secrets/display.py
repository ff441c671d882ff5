"""Servers and options as people may see them, with secrets masked."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence

from relay.app.named_server import NamedServer
from relay.app.secrets.arguments import secret_args
from relay.app.secrets.names import is_harmless_name, is_secret_name
from relay.app.secrets.text import mask_secrets
from relay.app.secrets.values import secrets_in
from relay.auth.maskable import maskable

__all__ = ["details", "masked_pairs", "masked_text", "masked_args", "runs"]

_MASK = "***"
_LOGIN = re.compile(r"(://)[^/?#@\s]*@")


def runs(server: NamedServer) -> str:
    """Return in one line what a server is: its address, or its command."""
    if server.url is None:
        return masked_args(server.command, server.secrets)
    return masked_text(server.url, server.secrets)


def details(server: NamedServer) -> Iterator[tuple[str, str]]:
    """Yield every other setting, each with a word for it."""
    if server.cwd is not None:
        yield "in", masked_text(server.cwd, server.secrets)
    for text in masked_pairs(server.env.items(), "="):
        yield "with", text
    for text in masked_pairs(server.headers.items(), ": "):
        yield "header", text
    if server.url is not None and server.transport != "auto":
        yield "by", server.transport
    if server.timeout is not None:
        yield "timeout", f"{server.timeout:g} s"


def masked_args(args: Sequence[str], also: Sequence[str] = ()) -> str:
    """Return a command as a shell takes it, with the values of secret options and ``also`` masked."""
    secrets = sorted(filter(None, secret_args(args)), key=len, reverse=True)
    shown = []
    for word in args:
        secret = next((secret for secret in secrets if word.endswith(secret)), "")
        shown.append(word.removesuffix(secret) + _MASK if secret else masked_text(word, also))
    return " ".join(word if word.endswith(_MASK) and " " not in word else shlex.quote(word) for word in shown)


def masked_pairs(pairs: Iterable[tuple[str, str]], separator: str) -> Iterator[str]:
    """Yield variables or headers, with every value masked whose name is not known to be harmless."""
    for name, value in pairs:
        yield f"{name}{separator}{masked_text(value) if is_harmless_name(name) else _MASK}"


def masked_text(text: str, also: Sequence[str] = ()) -> str:
    """Return a text in which logins and secret parameters of addresses are masked, and ``also``.

    Values of the relay's own secret variables, and of secret options in a command, are masked, too.
    """
    secrets = [value for name, value in os.environ.items() if is_secret_name(name)]
    secrets += [*also, *(word for word in secret_args(["", *_args(text)]) if text != word)]
    for word in text.split():
        secrets += secrets_in((), {}, word) if "://" in word else []
    return _LOGIN.sub(rf"\1{_MASK}@", mask_secrets(text, maskable(secrets)))


def _args(text: str) -> list[str]:
    """Return the arguments of a command, or the words of any other text."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()
