"""TOML, read with the standard library, and the lines it does not tell."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from relay.app.config.json_lines import Path
from relay.errors import ConfigError

__all__ = ["line_of", "parse_toml"]

_LONGEST_STATEMENT = 200  # lines: where a value ends is found by trying


def parse_toml(name: str, text: str) -> dict[str, Any]:
    """Read a text. Raises ConfigError, with the line."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        message = str(exc)
        place = re.search(r"\(at (?:line (\d+), column \d+|end of document)\)", message)
        line = (place[1] if place else None) or text.count("\n") + 1
        reason = message.partition(" (at ")[0]
        raise ConfigError(f"{name}, line {line}: this is not TOML: {reason[:1].lower()}{reason[1:]}") from exc
    except RecursionError:
        raise ConfigError(f"{name}: tables and lists are nested too deep") from None


def line_of(text: str, path: Path) -> int | None:
    """Return the line where the statement begins that says what is at ``path``.

    tomllib tells no lines. But a statement's line is the one without which the text before it says nothing of the key,
    and with which it does; only lines in which the key's name stands are tried.
    """
    lines = text.split("\n")
    keys = tuple(step for step in path if isinstance(step, str))
    if not keys:
        return None
    for number, line in enumerate(lines):
        if keys[-1] not in line or _is_in("\n".join(lines[:number]), keys) is not False:
            continue
        for end in range(number + 1, min(number + _LONGEST_STATEMENT, len(lines)) + 1):
            found = _is_in("\n".join(lines[:end]), keys)
            if found is not None:
                break
        if found:
            return number + 1
    return None


def _is_in(text: str, keys: tuple[str, ...]) -> bool | None:
    """Tell whether a text says something of a key; None if the text is none by itself."""
    try:
        value: object = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True
