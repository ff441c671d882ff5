"""Options from the command line, from variables and from a file: the first source that sets an option wins.

Keys of a file and names of variables follow the long options: ``--allow-origin`` is ``allow-origin`` and
``MCP_RELAY_ALLOW_ORIGIN``. A file also holds the target, servers, and a table for each subcommand.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from relay.app.config.document import Table, hint, read_document
from relay.app.config.expansion import Expander
from relay.app.config.faults import Faults
from relay.app.config.places import PLACES
from relay.app.config.servers_file import read_table
from relay.app.config.values import ValueRefused, is_pairs, options_of, read_value, read_variable
from relay.app.configured import Configured
from relay.app.named_server import NamedServer
from relay.app.secrets.arguments import secret_args
from relay.app.secrets.values import secrets_in, secrets_named
from relay.app.specs import ADDRESSES, is_address, words_of_command
from relay.auth.maskable import maskable
from relay.errors import ConfigError

__all__ = ["SECTIONS", "TARGET_KEYS", "parse_layered", "variable_of"]

TARGET_KEYS = ("command", "args", "url")
SECTIONS = ("test", "proxy", "load-balance", "gateway")
"""Subcommands that have options; each has a table of this name."""
_PREFIX = "MCP_RELAY_"
_OTHER_VARIABLES = ("MCP_RELAY_CONFIG", "MCP_RELAY_LOOP", "MCP_RELAY_FAST", "MCP_RELAY_BUSY_POLL", "MCP_RELAY_AUTH_DIR")
_TARGET_VARIABLES = ("MCP_RELAY_COMMAND", "MCP_RELAY_URL")


def variable_of(key: str) -> str:
    """Return the variable for a key."""
    return _PREFIX + key.upper().replace("-", "_")


def parse_layered(
    parser: argparse.ArgumentParser, args: Sequence[str], environment: Mapping[str, str], section: str | None = None
) -> argparse.Namespace:
    """Return the options; ``configured`` holds the rest of the configuration. Raises ConfigError."""
    with _only_what_is_given(parser) as (defaults, required):
        options = parser.parse_intermixed_args(args)
    layers = _Layers(parser, options, environment)
    if section is None:
        layers.take_variables()
    layers.take_file(options.config if hasattr(options, "config") else environment.get("MCP_RELAY_CONFIG"), section)
    layers.raise_faults()
    missing = [action for action in required if not hasattr(options, action.dest)]
    if missing:
        names = ", ".join("/".join(action.option_strings) for action in missing)
        parser.error(f"the following arguments are required: {names}")
    for action, default in defaults.items():
        if not hasattr(options, action.dest) and default is not argparse.SUPPRESS:
            convert = action.type if isinstance(default, str) and callable(action.type) else _as_it_is
            setattr(options, action.dest, convert(default))
    options.configured = layers.configured()
    return options


def _nearest(variable: str, known: Iterable[str]) -> str:
    # Without the common prefix, which would make any two of them similar.
    args = [one.removeprefix(_PREFIX) for one in (*known, *_OTHER_VARIABLES, *_TARGET_VARIABLES)]
    near = hint(variable.removeprefix(_PREFIX), args)
    return near.replace("'", f"'{_PREFIX}", 1) if near else "; see mcp-relay --help"


def _fault_of_target(first: str, *, is_url: bool) -> str | None:
    """Return why a text is no URL, or no command; the command line would take it for the other."""
    if is_url and not is_address(first):
        return f"is not an address of a kind that is known: {', '.join(ADDRESSES)}"
    if not is_url and (not first or is_address(first)):
        return "is an address; write url" if first else "is empty"
    return None


def _as_it_is(value: Any) -> Any:
    return value


@contextlib.contextmanager
def _only_what_is_given(
    parser: argparse.ArgumentParser,
) -> Iterator[tuple[Mapping[argparse.Action, Any], Sequence[argparse.Action]]]:
    """Let the parser return only given options and require none; yield its defaults and required actions."""
    actions = [action for action in parser._actions if action.option_strings]
    defaults = {action: action.default for action in actions}
    required = [action for action in actions if action.required]
    for action in actions:
        action.default, action.required = argparse.SUPPRESS, False
    try:
        yield defaults, required
    finally:
        for action, default in defaults.items():
            action.default, action.required = default, action in required


class _Layers:
    """Fills in the options that earlier layers left open."""

    def __init__(
        self, parser: argparse.ArgumentParser, options: argparse.Namespace, environment: Mapping[str, str]
    ) -> None:
        self._parser = parser
        self._options = options
        self._environment = environment
        self._known = options_of(parser)
        self._expander = Expander(environment)
        self._file: str | None = None
        self._target: list[str] = []
        self._servers: Mapping[str, NamedServer] = {}
        self._warnings: list[str] = []
        self._origins: dict[str, str] = {}
        self._faults = Faults()

    def raise_faults(self) -> None:
        """Raise ConfigError, with every mistake, if there was one."""
        self._faults.raise_all(self._warnings)

    def configured(self) -> Configured:
        return Configured(
            file=self._file,
            target=self._target,
            servers=self._servers,
            secrets=self._secrets(),
            warnings=self._warnings,
            origins=self._origins,
        )

    def _secrets(self) -> list[str]:
        url = self._target[0] if len(self._target) == 1 else None
        secrets = [*self._expander.secrets, *secret_args(self._target)]
        secrets += [*secrets_named(self._named_values()), *secrets_in((), {}, url)]
        return maskable(secrets)

    def _named_values(self) -> Iterator[tuple[str, str]]:
        """Yield each text that was configured, with the name of its option, variable or header."""
        for key, action in self._known.items():
            if f"--{key}" not in self._origins:
                continue
            value = getattr(self._options, action.dest)
            for one in value if isinstance(value, list) else [value]:
                if is_pairs(action):
                    yield one[0], one[1]
                elif isinstance(one, str):
                    yield key, one

    # Variables.

    def take_variables(self) -> None:
        """Take options from the environment; note mistakes."""
        by_variable = {variable_of(key): key for key in self._known}
        for name, text in sorted(self._environment.items()):
            if name.startswith(_PREFIX) and name not in _OTHER_VARIABLES and text:
                with self._faults.noted():
                    self._take_variable(name, text, by_variable)

    def _take_variable(self, name: str, text: str, by_variable: Mapping[str, str]) -> None:
        if name in _TARGET_VARIABLES:
            self._take_target_variable(name, text)
            return
        if name not in by_variable:
            raise ConfigError(f"{name} is set, but there is no such variable{_nearest(name, by_variable)}")
        key = by_variable[name]
        try:
            value = read_variable(self._parser, key, self._known[key], text)
        except ValueRefused as exc:
            raise ConfigError(f"{name}: {exc}") from exc
        self._set(self._known[key], value, name)

    def _take_target_variable(self, name: str, text: str) -> None:
        if self._target:
            raise ConfigError(f"{' and '.join(_TARGET_VARIABLES)} are both set; leave one out")
        try:
            self._target = [text] if name == "MCP_RELAY_URL" else words_of_command(text)
        except ConfigError as exc:
            raise ConfigError(f"{name}: {exc}") from exc
        if self._target and (fault := _fault_of_target(self._target[0], is_url=name == "MCP_RELAY_URL")):
            raise ConfigError(f"{name}: {fault}")

    # The file.

    def take_file(self, path: str | None, section: str | None) -> None:
        """Take options of this command from a file; note mistakes. Raises ConfigError if it cannot be read."""
        if not path:
            return
        self._file = path
        root = read_document(path).root()
        noted = self._faults.noted
        with noted():
            root.refuse_duplicates(besides="servers")
        if section is not None:
            with noted():
                if (table := root.table(section)) is not None:
                    self._take_options(table, ())
            return
        for other in SECTIONS:
            with noted():
                root.table(other)  # raises if it is no table
        if not self._target:
            with noted():
                self._target = self._target_of(root)
        with noted():
            if (servers := root.table("servers")) is not None:
                self._servers = read_table(servers, warnings=self._warnings, environment=self._environment)
        self._take_options(root, (*TARGET_KEYS, "servers", "$schema", *SECTIONS))

    def _target_of(self, root: Table) -> list[str]:
        url, command, args = root.text("url"), root.text("command"), root.texts("args")
        if url is not None and command is not None:
            raise root.error("there is a command, too; leave one out", "url")
        if args and command is None:
            raise root.error("there is no command that they belong to", "args")
        pairs = [("url", url)] if url is not None else self._command_of(root, command, args)
        target = [str(self._expanded(root, key, text)) for key, text in pairs]
        if target and (fault := _fault_of_target(target[0], is_url=url is not None)):
            raise root.error(fault, "url" if url is not None else "command")
        return target

    def _command_of(self, root: Table, command: str | None, args: Sequence[str] | None) -> list[tuple[str, str]]:
        """Return the words of a command, each with the key that it is from. Raises ConfigError."""
        if command is None:
            return []
        if args is not None or not command:
            return [("command", command), *(("args", arg) for arg in args or ())]
        try:
            return [("command", word) for word in words_of_command(command)]
        except ConfigError as exc:
            raise root.error(str(exc), "command") from exc

    def _take_options(self, table: Table, others: Sequence[str]) -> None:
        seen: dict[argparse.Action, str] = {}
        for key, value in table.values.items():
            if key not in others:
                with self._faults.noted():
                    self._take_option(table, key, value, others, seen)

    def _take_option(
        self, table: Table, key: str, value: object, others: Sequence[str], seen: dict[argparse.Action, str]
    ) -> None:
        action = self._known.get(key)
        if action is None:
            raise table.error(self._unknown(key, others), key)
        if action in seen:
            raise table.error(f"says the same as {seen[action]}; leave one out", key)
        seen[action] = key
        try:
            found = read_value(self._parser, key, action, self._expanded(table, key, value))
        except ValueRefused as exc:
            raise table.error(str(exc), key) from exc
        self._set(action, found, table.where(key))

    def _unknown(self, key: str, others: Sequence[str]) -> str:
        if key in PLACES:
            return "unknown key; this is an editor's file of servers: give it to --named-server-config"
        return f"unknown key{hint(key, (*self._known, *others))}"

    def _expanded(self, table: Table, key: str, value: object) -> object:
        if isinstance(value, str):
            text = self._expander.expand(value)
            if self._expander.problems:
                raise table.error(self._expander.problems[0], key)
            return text
        if isinstance(value, list):
            return [self._expanded(table, key, item) for item in value]
        if isinstance(value, dict):
            return {name: self._expanded(table, key, item) for name, item in value.items()}
        return value

    def _set(self, action: argparse.Action, value: object, origin: str) -> None:
        if not hasattr(self._options, action.dest):
            setattr(self._options, action.dest, value)
            self._origins.update(dict.fromkeys(action.option_strings, origin))
