"""Which words of a command line are secret: those after, or within, an option that is named like one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from relay.app.options import is_secret_name

__all__ = ["secret_words"]

_OPTION = re.compile(r"(?P<name>-{1,2}[\w.-]+|[A-Za-z_]\w*)(?:=(?P<value>.*))?", re.DOTALL)
_HEADER = re.compile(r"(?P<name>[\w-]+):\s*(?P<value>\S.*)", re.DOTALL)


def secret_words(words: Sequence[str]) -> list[str]:
    """Return the values that ``--token VALUE``, ``--token=VALUE``, ``TOKEN=VALUE`` and ``X-Api-Key: VALUE`` hold."""
    secrets = []
    awaited = False
    for word in words[1:]:
        option = _OPTION.fullmatch(word)
        is_option = word.startswith("-")
        if awaited and not is_option:
            secrets.append(word)
        awaited = False
        if option is not None and is_secret_name(option["name"]):
            if option["value"]:
                secrets.append(option["value"])
            else:
                awaited = is_option
        elif (header := _HEADER.fullmatch(word)) is not None and is_secret_name(header["name"]):
            secrets += [header["value"], header["value"].partition(" ")[2]]
    return secrets
