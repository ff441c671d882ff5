"""One server as a file describes it → NamedServer.

The reader knows the keys of every editor: one calls ``serverUrl`` what another calls ``url``. It skips keys that only
concern the editor, and warns of settings that the relay does not support. It finds every mistake in an entry, and a
mistake affects no other server.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Literal
from urllib.parse import quote

from relay.app.config.document import Table, hint
from relay.app.config.entry_keys import (
    BUILT_IN,
    ENTRY_KEYS,
    NOT_SUPPORTED,
    OF_EDITORS,
    OTHER_NAMES,
    TRANSPORTS,
    VARIABLE_KEYS,
    Transport,
    transport_named,
)
from relay.app.config.entry_reader import EntryReader
from relay.app.config.entry_values import is_before_a_script, milliseconds_are_meant, seconds_of, truth_of
from relay.app.config.entry_variables import Headers, variables_of
from relay.app.named_server import NamedServer
from relay.app.secrets.arguments import secret_args
from relay.app.secrets.values import secrets_in
from relay.app.specs import ADDRESSES, is_address, words_of_command
from relay.auth.maskable import maskable
from relay.errors import ConfigError

__all__ = ["check_name", "read_entry", "segment_of"]

_LONGEST_NAME = 128
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_KNOWN = (*ENTRY_KEYS, *OTHER_NAMES, *VARIABLE_KEYS)


def segment_of(name: str) -> str:
    """Return a server's name as one segment of a path: ``/servers/SEGMENT/mcp``."""
    return quote(name, safe="@!$'()*,:;=+&")


def check_name(name: str) -> str | None:
    """Return why a server cannot have this name, or None. Paths percent-encode other characters."""
    if not name or name in (".", ".."):
        return "a server's name cannot be empty, . or .., which mean something else in a path"
    if len(name) > _LONGEST_NAME:
        return f"a server's name has at most {_LONGEST_NAME} characters, this one {len(name)}"
    if _CONTROL.search(name):
        return "a server's name has no control characters and no line breaks"
    return None


def read_entry(
    name: str, table: Table, environment: Mapping[str, str], warnings: list[str], *, is_strict: bool = False
) -> NamedServer:
    """Read one server; if ``is_strict``, an unknown key is a mistake.

    ``problem`` says why the server cannot run; if the file is wrong, ``mistakes`` says where.
    """
    return _Entry(name, EntryReader(table, environment, warnings), is_strict=is_strict).read()


class _Entry:
    def __init__(self, name: str, entry: EntryReader, *, is_strict: bool) -> None:
        self._name = name
        self._entry = entry
        self._table = entry.table
        self._is_strict = is_strict
        self._problem: str | None = None

    def read(self) -> NamedServer:
        entry = self._entry
        self._look_at_keys()
        is_enabled, timeout = self._is_enabled(), self._timeout()
        server = NamedServer(name=self._name, timeout=timeout, is_enabled=is_enabled, where=self._table.where())
        transport = entry.take(self._transport)
        if transport is None and entry.has("url") and entry.has("command"):
            entry.refuse(f"has both command and {entry.key_of('url')}; leave one out, or say which with type")
        elif transport != "stdio" and entry.has("url"):
            server = self._remote(server, transport or "auto")
        else:
            server = self._local(server, transport)
        problems = [self._problem] if self._problem else []
        problems += [*entry.expander.problems, *(mistake.below(self._table.path) for mistake in entry.mistakes)]
        mistakes = [str(mistake) for mistake in entry.mistakes]
        return dataclasses.replace(server, problem="; ".join(problems) or None, mistakes=mistakes)

    # Two kinds of servers.

    def _local(self, server: NamedServer, transport: Transport | None) -> NamedServer:
        entry, expander = self._entry, self._entry.expander
        written = self._command()
        is_missing = not written or not written[0] or transport not in (None, "stdio")
        written += entry.words("args")
        words = [
            expander.expand(word) if is_before_a_script(before) else expander.expand_as_clients_do(word)
            for before, word in zip(["", *written], written, strict=False)
        ]
        env = dict(variables_of(entry))
        cwd = entry.text("cwd")
        for key in ("headers", "bearer_token_env_var", "env_http_headers"):
            entry.pass_over(key, "a command")
        if cwd is not None:
            cwd = expander.expand_as_clients_do(cwd)
        secrets = [*expander.secrets, *secret_args(words), *secrets_in(env.items(), {}, None)]
        if any("\0" in text for text in (*words, *env.values(), cwd or "")):
            self._problem = "a value has a NUL character in it"
        if is_missing and not entry.mistakes:
            self._problem = self._problem or self._why_no_command(transport)
        return dataclasses.replace(server, command=words, env=env, cwd=cwd, secrets=maskable(secrets))

    def _remote(self, server: NamedServer, transport: Literal["auto", "sse", "streamablehttp"]) -> NamedServer:
        entry, key = self._entry, self._entry.key_of("url")
        if key == "httpUrl" and transport == "auto":
            transport = "streamablehttp"
        written = entry.text("url")
        url = None if written is None else entry.expander.expand_as_clients_do(written)
        if url is not None and "${" not in url and (not is_address(url) or url.lower().startswith("stdio:")):
            known = ", ".join(one for one in ADDRESSES if one != "stdio:")
            entry.refuse(f"is not an address of a kind that is known: {known}", key)
        if _CONTROL.search(url or ""):
            self._problem = "its url has a control character in it"
        reader = Headers(entry)
        headers = reader.read()
        self._problem = self._problem or reader.problem
        for key in ("args", "env", "cwd", "command", "env_vars", "env_keys"):
            entry.pass_over(key, "a URL")
        secrets = [*entry.expander.secrets, *secrets_in((), headers, url)]
        return dataclasses.replace(server, url=url, headers=headers, transport=transport, secrets=maskable(secrets))

    def _why_no_command(self, transport: Transport | None) -> str:
        if self._table.values.get("source") == "extension" or "settings" in self._table.values:
            return "it belongs to an extension of Zed, which only Zed can start; give it a command, or leave it out"
        if transport not in (None, "stdio"):
            return f"it has no url, which {self._entry.key_of('transport')} asks for"
        return "it has neither command nor url; give it one" if transport is None else "it has no command; give it one"

    # Keys.

    def _look_at_keys(self) -> None:
        for key in self._table.values:
            if key in _KNOWN or key in OF_EDITORS:
                continue
            if key in NOT_SUPPORTED:
                self._look_at_unsupported(key)
            elif self._is_strict:
                self._entry.refuse(f"unknown key{hint(key, _KNOWN)}", key)
            else:
                near = hint(key, (*_KNOWN, *NOT_SUPPORTED))
                self._entry.warn(self._table.where(key), f"unknown key{near or ', ignored'}")

    def _look_at_unsupported(self, key: str) -> None:
        value = self._table.values[key]
        if key == "options":
            options = self._entry.take(self._table.table, "options")
            for one in options.values if options else ():
                if options and one != "disabled":
                    self._entry.warn(options.where(one), f"not supported: {NOT_SUPPORTED.get(one) or 'ignored'}")
        elif value and value not in (["*"], "*") and not (key == "tools" and isinstance(value, dict)):
            self._entry.warn(self._table.where(key), f"not supported: {NOT_SUPPORTED[key]}")

    # Values.

    def _is_enabled(self) -> bool:
        entry, table = self._entry, self._table
        options = table.table("options") if isinstance(table.values.get("options"), dict) else None
        is_enabled = entry.take(truth_of, table, entry.key_of("enabled"))
        off = [entry.take(truth_of, table, "disabled")]
        off += [entry.take(truth_of, options, "disabled")] if options is not None else []
        return is_enabled is not False and not any(off)

    def _timeout(self) -> float | None:
        key = self._entry.key_of("timeout")
        seconds = self._entry.take(seconds_of, self._table, key)
        if seconds is not None and milliseconds_are_meant(self._table, key, seconds):
            seconds /= 1000
            self._entry.warn(self._table.where(key), f"read as milliseconds, as some editors count: {seconds:g} s")
        return seconds or None

    def _transport(self) -> Transport | None:
        key = self._entry.key_of("transport")
        text = self._table.text(key)
        if not text:
            return None
        if transport_named(text) in BUILT_IN:
            self._problem = "it is a part of the program whose file this is, which alone can start it"
            return None
        known = TRANSPORTS.get(transport_named(text))
        if known is None:
            raise self._table.error(f"{text!r} is not one of stdio, http, sse, streamable-http, auto", key)
        return known

    def _command(self) -> list[str]:
        key = self._entry.key_of("command")
        if isinstance(self._table.values.get(key), list):
            return self._entry.words(key)
        command = self._entry.text("command")
        if not command or self._entry.has("args"):
            return [command] if command else []
        try:
            return words_of_command(command)
        except ConfigError as exc:
            self._problem = self._problem or str(exc)
            return [command]
