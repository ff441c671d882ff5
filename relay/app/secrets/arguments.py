"""Which arguments of a command are secret: those after, or within, an option with a secret's name."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from relay.app.secrets.names import is_harmless_name, is_secret_name, is_secret_variable

__all__ = ["secret_args"]

_OPTION = re.compile(r"(?P<name>-{1,2}[\w.-]+|[A-Za-z_][\w.-]*)(?:=(?P<value>.*))?", re.DOTALL)
_HEADER = re.compile(r"(?P<name>[\w-]+):\s*(?P<value>\S.*)", re.DOTALL)
_SCHEME = re.compile(r"(?:.*[\s:=])?(?:bearer|basic)(?:\s+(?P<value>\S.*))?", re.DOTALL | re.IGNORECASE)
_OF_HEADERS = ("-H", "--header", "--headers")
_OF_VARIABLES = ("-e", "--env")
_NAMES_ONLY = ("docker", "podman", "nerdctl")  # -e NAME passes on a variable of the environment: no value follows


def secret_args(args: Sequence[str]) -> list[str]:
    """Return the values that ``--token VALUE``, ``--token=VALUE``, ``TOKEN=VALUE`` and ``X-Api-Key: VALUE`` hold.

    And those of ``Bearer VALUE`` wherever it stands, of ``-H NAME VALUE``, ``-e NAME VALUE`` and ``-e NAME=VALUE``.
    """
    secrets: list[str] = []
    names_only = bool(args) and os.path.basename(args[0]) in _NAMES_ONLY
    before = ""
    awaited = False
    for word in args[1:]:
        is_option = word.startswith("-")
        if awaited and not is_option:
            secrets.append(word)
        awaited = _holds(word, before, secrets, names_only=names_only)
        before = word
    return [secret for secret in secrets if secret]


def _holds(word: str, before: str, secrets: list[str], *, names_only: bool) -> bool:
    """Add the secrets within an argument; tell whether the next argument is one."""
    is_header, is_variable = before in _OF_HEADERS, before in _OF_VARIABLES
    header = _HEADER.fullmatch(word)
    if header is not None and (is_secret_name(header["name"]) or (is_header and not is_harmless_name(header["name"]))):
        secrets += [header["value"], header["value"].partition(" ")[2]]
        return False
    if (scheme := _SCHEME.fullmatch(word)) is not None:
        secrets += [scheme["value"] or ""]
        return not scheme["value"] and word != "basic"  # an ordinary word, too
    option = _OPTION.fullmatch(word)
    if option is not None:
        name, value = option["name"], option["value"]
        if value:
            if is_secret_name(name) or (is_variable and is_secret_variable(name, value)):
                secrets.append(value)
            return False
        if is_header:
            return is_secret_name(name) or name.upper().startswith("X-")
        return is_secret_name(name) and (word.startswith("-") or (is_variable and not names_only))
    return False
