"""What a file or a variable says of an option, made into what the flag makes of its words.

Everything is asked of the parser's actions, so an option needs no entry here.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import Any

from relay.app.config.document import Document
from relay.app.config.jsonc import JsoncError, read
from relay.app.secrets.names import is_secret_name

__all__ = [
    "ValueRefused",
    "expected_of",
    "is_flag",
    "is_pairs",
    "is_several",
    "options_of",
    "read_value",
    "read_variable",
]

_NOT_CONFIGURED = ("version", "config", argparse.SUPPRESS)  # the last is that of --help
_WORDS_FOR_TRUE = ("1", "true", "yes", "on")
_WORDS_FOR_FALSE = ("0", "false", "no", "off")


class ValueRefused(ValueError):
    """A value that the option does not take: what was seen and what is expected."""


def options_of(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Return the options that can be configured, by their long names without the dashes."""
    options = {}
    for action in parser._actions:
        for flag in action.option_strings:
            is_negation = isinstance(action, argparse.BooleanOptionalAction) and flag.startswith("--no-")
            if flag.startswith("--") and not is_negation and action.dest not in (*_NOT_CONFIGURED, argparse.SUPPRESS):
                options[flag[2:]] = action
    return options


def is_flag(action: argparse.Action) -> bool:
    """Tell whether an option is on or off, without a value."""
    return action.nargs == 0


def is_pairs(action: argparse.Action) -> bool:
    """Tell whether an option is repeated with a name and a value each time."""
    return isinstance(action, argparse._AppendAction) and action.nargs == 2


def is_several(action: argparse.Action) -> bool:
    """Tell whether an option has any number of values."""
    return isinstance(action, argparse._AppendAction) or action.nargs in ("+", "*")


def expected_of(action: argparse.Action) -> str:
    """Say what an option takes in a file."""
    if is_flag(action):
        return "true or false"
    if is_pairs(action):
        return 'a table of names and values, such as {NAME = "value"}'
    one = "one of " + ", ".join(map(str, action.choices)) if action.choices else "a text"
    if action.type is not None and not action.choices:
        one = "a number, or a text as on the command line"
    return f"a list, each {one}" if is_several(action) else one


# From a file.


def read_value(parser: argparse.ArgumentParser, key: str, action: argparse.Action, value: object) -> Any:
    """Return what the option is with this value. Raises ValueRefused."""
    if is_flag(action):
        return _switched(action, value)
    namespace = argparse.Namespace()
    for words in _calls(key, action, value):
        action(parser, namespace, words, f"--{key}")
    return getattr(namespace, action.dest, [])


def _switched(action: argparse.Action, value: object) -> object:
    if not isinstance(value, bool):
        raise _unexpected(action, value)
    if isinstance(action, argparse.BooleanOptionalAction):
        return value
    return action.const if value else action.default


def _calls(key: str, action: argparse.Action, value: object) -> Iterator[Any]:
    """Yield what the action is called with: once for each time that the flag would be written."""
    if is_pairs(action):
        if not isinstance(value, dict):
            raise _unexpected(action, value)
        for name, text in value.items():
            if not isinstance(text, str):
                raise ValueRefused(f"{name}: expected a text in quotes, found {_kind(text)}")
            yield [name, text]
    elif is_several(action):
        items = value if isinstance(value, list) else [value]
        converted = [_convert(key, action, item) for item in items]
        yield from converted if action.nargs is None else [converted]
    elif isinstance(action.nargs, int):
        if not isinstance(value, list) or len(value) != action.nargs:
            raise ValueRefused(f"expected a list of {action.nargs}, found {_kind(value)}")
        yield [_convert(key, action, item) for item in value]
    elif action.nargs == "?" and value is True:
        yield action.const
    else:
        yield _convert(key, action, value)


def _convert(key: str, action: argparse.Action, value: object) -> object:
    if action.nargs == "?" and value is False:
        value = "false"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not isinstance(value, str) and not (is_number and action.type is not None):
        raise _unexpected(action, value)
    text = str(value)
    try:
        found = action.type(text) if callable(action.type) else text
    except argparse.ArgumentTypeError as exc:
        raise ValueRefused("its value is not accepted" if is_secret_name(key) else str(exc)) from exc
    except (TypeError, ValueError) as exc:
        raise ValueRefused(f"expected {expected_of(action)}") from exc
    if action.choices is not None and found not in action.choices:
        raise ValueRefused(f"{text!r} is not one of {', '.join(map(str, action.choices))}")
    return found


def _unexpected(action: argparse.Action, value: object) -> ValueRefused:
    return ValueRefused(f"expected {expected_of(action)}; found {_kind(value)}")


def _kind(value: object) -> str:
    return Document("", value, lambda _: None, is_toml=True).kind_of(value)


# From a variable.


def read_variable(parser: argparse.ArgumentParser, key: str, action: argparse.Action, text: str) -> Any:
    """Return what the option is with this variable's text. Raises ValueRefused."""
    return read_value(parser, key, action, _value_of_text(action, text))


def _value_of_text(action: argparse.Action, text: str) -> object:
    if is_flag(action):
        word = text.strip().lower()
        if word not in _WORDS_FOR_TRUE + _WORDS_FOR_FALSE:
            raise ValueRefused("expected 1, true, yes, on or 0, false, no, off")
        return word in _WORDS_FOR_TRUE
    if is_pairs(action):
        return _pairs(text)
    if is_several(action):
        return _from_json(text, list) if text.lstrip().startswith("[") else re.split(r"[\s,]+", text.strip(" \t\r\n,"))
    return text.strip()


def _pairs(text: str) -> Any:
    if text.lstrip().startswith("{"):
        return _from_json(text, dict)
    pairs = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        match = re.fullmatch(r"([^=:]+)[=:](.*)", line)
        if match is None:
            raise ValueRefused("expected lines of NAME=value, or a JSON object")
        pairs[match[1].strip()] = match[2].strip()
    return pairs


def _from_json(text: str, kind: type) -> Any:
    try:
        value = read(text)
    except JsoncError as exc:
        raise ValueRefused(f"this is not JSON: {exc}") from exc
    if not isinstance(value, kind):
        raise ValueRefused(f"expected a JSON {'object' if kind is dict else 'list'}")
    return value
