"""One server as a file describes it → NamedServer.

The words are those of every editor: what one calls ``serverUrl`` another calls ``url``. Keys that only concern the
editor are passed over; what it would do and the relay does not is said in a warning, so that nobody relies on it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Literal
from urllib.parse import quote

from relay.app.config.document import Table, hint
from relay.app.config.expansion import Expander
from relay.app.config.secret_words import secret_words
from relay.app.options import HEADERS_IGNORED, HEADERS_REFUSED, is_header_name, secrets_in
from relay.app.settings import NamedServer
from relay.app.specs import ADDRESSES, is_address

__all__ = ["ENTRY_KEYS", "TRANSPORTS", "check_name", "read_entry", "segment_of"]

ENTRY_KEYS = (
    "command", "args", "env", "cwd", "url", "headers", "transport", "timeout", "enabled", "disabled",
)  # fmt: skip
"""What we call things; the other names for them follow."""
OTHER_NAMES = {
    "serverUrl": "url",
    "httpUrl": "url",
    "baseUrl": "url",
    "type": "transport",
    "transportType": "transport",
    "isActive": "enabled",
}
OF_EDITORS = (
    "alwaysAllow", "autoApprove", "description", "gallery", "icon", "iconUrl", "id", "name", "note", "provider",
    "providerUrl", "settings", "source", "tags", "title", "trust", "version",
)  # fmt: skip
"""Keys by which editors decide what to show and what to ask about: of no concern here."""
_ALL_TOOLS = "all of the server's tools are offered"
NOT_SUPPORTED = {
    **dict.fromkeys(
        ("disabledTools", "disabled_tools", "enabledTools", "excludeTools", "includeTools", "toolFilter", "tools"),
        _ALL_TOOLS,
    ),
    **dict.fromkeys(("auth", "oauth", "headersHelper"), "put the token into headers, as ${VAR} if it is a secret"),
    "authTokens": "clients are not asked for them",
    "envFile": "put the variables into env",
    "logEnabled": "--log-level is for all servers",
    "options": "",
    "panicIfInvalid": "a server that does not start keeps none of the others from starting",
    "sandbox": "the server is started with all that the relay may do",
}
"""What an editor would do and the relay does not, and what that means."""
Transport = Literal["stdio", "auto", "sse", "streamablehttp"]
TRANSPORTS: Mapping[str, Transport] = {
    "stdio": "stdio",
    "auto": "auto",
    "http": "auto",
    "ws": "auto",
    "websocket": "auto",
    "sse": "sse",
    "streamablehttp": "streamablehttp",
}
"""By name, in small letters and without - and _. With ``http`` editors, too, fall back to SSE."""

_LONGEST_NAME = 128
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LONGEST_SECONDS = 3600  # of those who count in seconds none allows more, and nobody means 3.6 s and less


def segment_of(name: str) -> str:
    """Return a server's name as one segment of a path: ``/servers/SEGMENT/mcp``."""
    return quote(name, safe="@!$'()*,:;=+&")


def check_name(name: str) -> str | None:
    """Return why a server cannot have this name, or None. What a path cannot hold is percent-encoded there."""
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
    """Read one server. Raises ConfigError; if ``is_strict``, also for a key that nobody knows.

    What keeps this server alone from running is its ``problem``: others are not affected.
    """
    return _Entry(name, table, Expander(environment), warnings, is_strict=is_strict).read()


class _Entry:
    def __init__(self, name: str, table: Table, expander: Expander, warnings: list[str], *, is_strict: bool) -> None:
        self._name = name
        self._table = _flat(table)
        self._expander = expander
        self._warnings = warnings
        self._is_strict = is_strict
        self._problem: str | None = None

    def read(self) -> NamedServer:
        self._look_at_keys()
        server = NamedServer(
            name=self._name, timeout=self._timeout(), is_enabled=self._is_enabled(), where=self._table.where()
        )
        transport = self._transport()
        url_key = self._key_of("url")
        if "command" in self._table.values and url_key and transport is None:
            raise self._table.error(f"has both command and {url_key}; leave one out, or say which with type")
        if transport != "stdio" and url_key:
            server = self._remote(server, url_key, transport or "auto")
        else:
            server = self._local(server, transport)
        problems = ([self._problem] if self._problem else []) + self._expander.problems
        return dataclasses.replace(server, problem="; ".join(problems) or None)

    # Two kinds of servers.

    def _local(self, server: NamedServer, transport: str | None) -> NamedServer:
        command = self._table.text("command")
        if not command or transport not in (None, "stdio"):
            self._problem = self._why_no_command(transport)
            return server
        words = [self._expand(command), *map(self._expand, self._args())]
        env = {name: self._expand(value) for name, value in self._env().items()}
        cwd = self._table.text("cwd")
        self._pass_over("headers", "a command")
        secrets = [*self._expander.secrets, *secret_words(words), *secrets_in(env.items(), {}, None)]
        if any("\0" in text for text in (*words, *env.values(), cwd or "")):
            self._problem = "a value has a NUL character in it"
        return dataclasses.replace(
            server, command=words, env=env, cwd=None if cwd is None else self._expand(cwd), secrets=_shown(secrets)
        )

    def _remote(
        self, server: NamedServer, url_key: str, transport: Literal["auto", "sse", "streamablehttp"]
    ) -> NamedServer:
        url = self._expand(self._table.text(url_key) or "")
        if url_key == "httpUrl" and transport == "auto":
            transport = "streamablehttp"
        if "${" not in url and (not is_address(url) or url.lower().startswith("stdio:")):
            known = ", ".join(one for one in ADDRESSES if one != "stdio:")
            raise self._table.error(f"is not an address of a kind that is known: {known}", url_key)
        if _CONTROL.search(url):
            self._problem = "its url has a control character in it"
        headers = self._headers()
        for key in ("args", "env", "cwd", "command"):
            self._pass_over(key, "a URL")
        secrets = [*self._expander.secrets, *secrets_in((), headers, url)]
        return dataclasses.replace(server, url=url, headers=headers, transport=transport, secrets=_shown(secrets))

    def _why_no_command(self, transport: str | None) -> str:
        if self._table.values.get("source") == "extension" or "settings" in self._table.values:
            return "it belongs to an extension of Zed, which only Zed can start; give it a command, or leave it out"
        if transport not in (None, "stdio"):
            return f"it has no url, which {self._key_of('transport')} asks for"
        return "it has neither command nor url; give it one" if transport is None else "it has no command; give it one"

    # Keys.

    def _look_at_keys(self) -> None:
        known = (*ENTRY_KEYS, *OTHER_NAMES)
        for key in self._table.values:
            if key in known or key in OF_EDITORS:
                continue
            if key in NOT_SUPPORTED:
                self._look_at_unsupported(key)
            elif self._is_strict:
                raise self._table.error(f"unknown key{hint(key, known)}", key)
            else:
                near = hint(key, (*known, *NOT_SUPPORTED))
                self._warn(f"{self._table.where(key)}: unknown key{near or ', ignored'}")

    def _look_at_unsupported(self, key: str) -> None:
        if key != "options":
            self._warn(f"{self._table.where(key)}: not supported: {NOT_SUPPORTED[key]}")
            return
        options = self._table.table("options")
        for one in options.values if options else ():
            if options and one != "disabled":
                self._warn(f"{options.where(one)}: not supported: {NOT_SUPPORTED.get(one) or 'ignored'}")

    def _key_of(self, meaning: str) -> str | None:
        """Return under which name something is there. Raises ConfigError if it is there twice."""
        names = [
            name
            for name in (meaning, *(other for other, ours in OTHER_NAMES.items() if ours == meaning))
            if self._table.values.get(name) is not None
        ]
        if len({str(self._table.values[name]) for name in names}) > 1:
            raise self._table.error(f"has both {names[0]} and {names[1]}, which say the same; leave one out")
        return names[0] if names else None

    def _pass_over(self, key: str, target: str) -> None:
        if self._table.values.get(key):
            self._warn(f"{self._table.where(key)}: of no use before {target}: ignored")

    def _warn(self, warning: str) -> None:
        self._warnings.append(warning)

    # Values.

    def _expand(self, text: str) -> str:
        return self._expander.expand(text)

    def _is_enabled(self) -> bool:
        key = self._key_of("enabled")
        options = self._table.table("options")
        enabled = self._table.flag(key) if key else None
        return (
            enabled is not False
            and not self._table.flag("disabled")
            and not (options is not None and options.flag("disabled"))
        )

    def _timeout(self) -> float | None:
        seconds = self._table.number("timeout")
        if seconds is not None and seconds > _LONGEST_SECONDS:
            self._warn(
                f"{self._table.where('timeout')}: read as milliseconds, as some editors count: {seconds / 1000:g} s"
            )
            seconds /= 1000
        return seconds or None

    def _transport(self) -> Transport | None:
        key = self._key_of("transport")
        if key is None:
            return None
        text = self._table.text(key) or ""
        known = TRANSPORTS.get(text.lower().replace("-", "").replace("_", ""))
        if known is None:
            raise self._table.error(f"{text!r} is not one of stdio, http, sse, streamable-http, auto", key)
        return known

    def _args(self) -> list[str]:
        if not isinstance(self._table.values.get("args"), list | None):
            # The bridges we replace leave such a server out and start the others.
            self._problem = (
                f"its args are {self._table.document.kind_of(self._table.values['args'])}; write a list of texts"
            )
            return []
        return self._table.texts("args") or []

    def _env(self) -> dict[str, str]:
        table = self._table.table("env")
        env = {}
        for name, value in table.values.items() if table else ():
            assert table is not None, "it has items"
            if not name or "=" in name or "\0" in name:
                raise table.error("is not a variable's name", name)
            if isinstance(value, int) and not isinstance(value, bool):
                value = str(value)
            if value is None:
                continue  # VS Code: not set
            if not isinstance(value, str):
                raise table.error(f"expected a text in quotes, found {table.document.kind_of(value)}", name)
            env[name] = value
        return env

    def _headers(self) -> dict[str, str]:
        table = self._table.table("headers")
        headers: dict[str, str] = {}
        for name in table.values if table else ():
            assert table is not None, "it has items"
            if not is_header_name(name):
                raise table.error("is not a header name", name)
            if name.lower() in HEADERS_REFUSED:
                raise table.error("belongs to the transport, which sets it where it is due; leave it out", name)
            if name.lower() in (other.lower() for other in headers):
                raise table.error("is there twice; header names do not differ by capitals", name)
            value = self._expand(table.text(name) or "")
            if any(c in value for c in "\r\n\0"):
                self._problem = f"the value of the header {name} has a line break in it"
            elif name.lower() in HEADERS_IGNORED:
                self._warn(f"{table.where(name)}: is set by the transport itself: ignored")
            else:
                headers[name] = value
        return headers


def _shown(secrets: list[str]) -> list[str]:
    return [secret for secret in dict.fromkeys(secrets) if len(secret) >= 4]


def _flat(table: Table) -> Table:
    """Return a server of Zed's older way, with all of its command in one object, as the others write it."""
    if not isinstance(table.values.get("command"), dict):
        return table
    command = table.table("command")
    assert command is not None, "it is there"
    program = command.text("path")
    rest = {key: command.values[key] for key in ("args", "env") if key in command.values}
    return dataclasses.replace(table, values={**table.values, **rest, "command": program})
