"""The options that several commands of the program share, and what is checked of their values.

Every mistake is a ConfigError: one line that says what to write instead.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

from relay.app.log.logs import StderrSink, set_up_logging
from relay.app.log.secret_names import is_secret_name, is_secret_variable
from relay.app.settings import NamedServer
from relay.errors import ConfigError

__all__ = [
    "HEADERS_IGNORED",
    "HEADERS_REFUSED",
    "Configured",
    "SECRET_OPTIONS",
    "Parser",
    "add_child_options",
    "add_config_option",
    "add_drain_timeout",
    "add_http_options",
    "add_log_options",
    "add_log_to",
    "begin_log",
    "check_names",
    "headers_of",
    "is_header_name",
    "located",
    "parse_words",
    "port",
    "positive",
    "refuse_log_to_client",
    "secrets_in",
    "secrets_named",
    "secrets_of",
    "seconds",
    "size",
    "split_command",
    "start_of",
    "unused_options",
    "variables_of",
    "warn_of_headers",
]

logger = logging.getLogger("relay")

OF_A_URL = {
    "headers": "-H",
    "transport": "--transport",
    "username": "--username",
    "password": "--password",
    "digest": "--digest",
    "client_id": "--client-id",
    "client_secret": "--client-secret",
    "token_url": "--token-url",
}
OF_A_CHILD = {
    "env": "-e",
    "pass_variable": "--pass-variable",
    "cwd": "--cwd",
    "pass_environment": "--pass-environment",
}
"""Options that the other kind of target has no use for, by their attribute."""

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
SECRET_OPTIONS = ("password", "client_secret")
"""Options whose values no log may show, by their attribute."""
# Headers that the transport makes. Configurations carry the first ones, which the bridges we replace overwrite.
HEADERS_IGNORED = ("accept", "accept-encoding", "connection", "content-type", "keep-alive", "mcp-protocol-version")
HEADERS_REFUSED = (
    "content-encoding", "content-length", "expect", "host", "last-event-id", "mcp-method", "mcp-name", "mcp-session-id",
    "te", "trailer", "transfer-encoding", "upgrade",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """What variables and a configuration file say, beside the values of options."""

    file: str | None = None
    target: Sequence[str] = ()
    """A URL, or a command and its arguments; the command line's own comes first."""
    servers: Mapping[str, NamedServer] = field(default_factory=dict)
    secrets: Sequence[str] = ()
    warnings: Sequence[str] = ()
    """What is to be said of the servers."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """Where the value of an option comes from, by each of its flags; not if it comes from the command line."""


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line that says what to do next."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.set_defaults(configured=Configured())

    def _print_message(self, message: str, file: Any = None) -> None:
        """Write a text without keeping to ourselves, as argparse does, that it cannot be written."""
        if message:
            (file or sys.stderr).write(message)

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError."""
        if message.startswith("unrecognized arguments"):
            message = re.sub(r"(--?[\w-]+=)\S.*", r"\1…", message, flags=re.DOTALL)  # it may be a secret
            message += f"{self._nearest(message)}; if they are the command's own, put -- before it"
        if message.endswith("expected 2 arguments"):
            message += ", a name and a value, each a word of its own"
        raise ConfigError(f"{message}; see {self.prog} --help")

    def _nearest(self, message: str) -> str:
        """Return a question after the option that may have been meant by the first that is not known, or nothing."""
        from relay.app.config.document import hint

        first = next((word for word in message.split() if word.startswith("--")), "")
        # Without what they all begin with, which would make any two of them near.
        near = hint(start_of(first).strip("-="), [flag[2:] for flag in self._option_string_actions if flag[:2] == "--"])
        return near.replace("; did you mean '", " (did you mean --").replace("'?", "?)")


class _Once(argparse.Action):
    """Takes an option that can be given once: of two files one would be passed over in silence."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, flag: str | None = None
    ) -> None:
        if getattr(namespace, self.dest, None) is not None:
            raise argparse.ArgumentError(self, "is there twice; one file holds all options")
        setattr(namespace, self.dest, values)


_CONFIGURED_BY = "MCP_RELAY_"
_NOT_OPTIONS = ("MCP_RELAY_LOOP",)


def parse_words(
    parser: argparse.ArgumentParser, words: Sequence[str], section: str | None = None
) -> argparse.Namespace:
    """Return the options, and as ``configured`` what else was configured: flags, variables, a file, defaults.

    A subcommand has a section of the file and no variables.
    """
    is_configured = any(name.startswith(_CONFIGURED_BY) and name not in _NOT_OPTIONS for name in os.environ)
    if is_configured or any(word.startswith("--config") for word in words):
        from relay.app.config.layers import parse_layered

        return parse_layered(parser, words, os.environ, section)
    return parser.parse_intermixed_args(words)


@contextlib.contextmanager
def located(options: argparse.Namespace) -> Iterator[None]:
    """Let mistakes in the values of options say which file or variable has them."""
    try:
        yield
    except ConfigError as exc:
        flag, rest = re.match(r"(-[\w-]+)?(?:: )?(.*)", str(exc), re.DOTALL).groups()  # type: ignore[union-attr] # it matches anything
        origin = options.configured.origins.get(flag)
        if origin is None:
            raise
        raise ConfigError(f"{origin}: {rest if str(exc).startswith(f'{flag}: ') else exc}") from exc.__cause__


def split_command(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words before ``--`` and those after it, which are the command's own."""
    if "--" not in words:
        return list(words), []
    cut = words.index("--")
    return list(words[:cut]), list(words[cut + 1 :])


# Values.


def size(text: str) -> int:
    """Read a number of bytes, with an optional suffix k, M or G (of 1024)."""
    factors = {"k": 1024, "m": 1024**2, "g": 1024**3}
    digits, factor = (text[:-1], factors[text[-1].lower()]) if text[-1:].lower() in factors else (text, 1)
    if not digits.isascii() or not digits.isdigit() or int(digits) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 65536, 512k or 64M")
    return int(digits) * factor


def positive(text: str) -> int:
    """Read a whole number above 0."""
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def seconds(text: str) -> float:
    """Read a time in seconds."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def port(text: str) -> int:
    """Read a port; 0 is a free one."""
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def _level(text: str) -> str:
    """Read a level in any case; mcp-connect's names for two of them are taken too."""
    return {"TRACE": "DEBUG", "WARN": "WARNING"}.get(text.upper(), text.upper())


# Options.


def add_http_options(group: Any, *, transports: Sequence[str] = ()) -> None:
    """Add what is said to, and of, a remote server; ``transports`` are words that mean something else besides."""
    group.add_argument(
        "--transport",
        type=str.lower,
        choices=("auto", "sse", "streamablehttp", "streamable-http", *transports),
        default="auto",
        help="what the server speaks; found out by default",
    )
    group.add_argument(
        "-H", "--headers", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"),
        help="send this header with every request (repeatable)",
    )  # fmt: skip


def add_child_options(group: Any) -> None:
    """Add what a command is started with."""
    group.add_argument(
        "-e", "--env", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"),
        help="set a variable for the command (repeatable)",
    )  # fmt: skip
    group.add_argument(
        "--pass-variable", action="append", default=[], metavar="NAME",
        help="hand this variable of ours on to the command (repeatable)",
    )  # fmt: skip
    group.add_argument("--cwd", metavar="DIR", help="the command's working directory")
    group.add_argument(
        "--pass-environment",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="hand the whole environment on, not only HOME LOGNAME PATH SHELL TERM USER",
    )


def add_config_option(group: Any) -> None:
    """Add where the other options may be written down."""
    group.add_argument(
        "--config", action=_Once, metavar="FILE", help="take options from this TOML or JSON file ($MCP_RELAY_CONFIG)"
    )


def add_log_options(group: Any) -> None:
    """Add how much is said on stderr."""
    group.add_argument("--log-level", type=_level, choices=_LEVELS, default="WARNING", help="default WARNING")
    group.add_argument("--debug", action=argparse.BooleanOptionalAction, help="log every frame; wins over --log-level")


def add_log_to(group: Any) -> None:
    """Add who is told of warnings, where the client is at own stdio."""
    group.add_argument(
        "--log-to", choices=("stderr", "client"), default="stderr",
        help="on own stdio: tell the client of warnings, once its handshake is over, by notifications/message",
    )  # fmt: skip


def add_drain_timeout(group: Any) -> None:
    """Add how long the end waits for what is in flight."""
    group.add_argument(
        "--drain-timeout", type=seconds, metavar="S",
        help="how long SIGTERM, or the end of stdin, waits for answers (default 20)",
    )  # fmt: skip


def refuse_log_to_client(options: argparse.Namespace) -> None:
    """See that nobody waits for warnings that cannot come. Raises ConfigError."""
    if options.log_to == "client":
        raise ConfigError(
            "--log-to client is for a client on own stdio: mcp-relay URL, or --listen stdio: and no other; "
            "leave it out, and warnings are said on stderr"
        )


def begin_log(options: argparse.Namespace, secrets: Iterable[str], sink: StderrSink) -> None:
    """Log to ``sink`` at the level that was asked for."""
    set_up_logging(logging.DEBUG if options.debug else getattr(logging, options.log_level), secrets, sink)


# What they say, checked.


def unused_options(
    parser: argparse.ArgumentParser, options: argparse.Namespace, of_the_other: dict[str, str]
) -> list[str]:
    """Return those options that were given although the target has no use for them, by their flags or their places."""
    origins = options.configured.origins
    return [
        origins.get(flag, flag)
        for name, flag in of_the_other.items()
        if getattr(options, name) != parser.get_default(name)
    ]


def check_names(options: argparse.Namespace) -> None:
    """Look at the names of headers and variables: argparse may have taken other words for them. Raises ConfigError."""
    for name, _ in options.headers:
        if not is_header_name(name):
            raise ConfigError(f"-H: {start_of(name)!r} is not a header name; write two words: -H Name 'value'")
    for name, value in options.env:
        if not name or "=" in name or "\0" in name + value:
            raise ConfigError(f"-e: {start_of(name)!r} is not a variable's name; write two words: -e NAME 'value'")
    for name in options.pass_variable:
        if not name or "=" in name or "\0" in name:
            raise ConfigError(f"--pass-variable: {start_of(name)!r} is not a variable's name; -e NAME 'value' sets one")


def is_header_name(name: str) -> bool:
    """Tell whether HTTP allows a header of this name."""
    return bool(name) and all(c.isascii() and (c.isalnum() or c in "!#$%&'*+-.^_`|~") for c in name)


def start_of(word: str) -> str:
    """Return a word without what may be a secret value."""
    return re.split(r"(?<=[:=])", word, maxsplit=1)[0]


def variables_of(options: argparse.Namespace) -> dict[str, str]:
    """Return what is added to a command's environment: our variables that are named, and those of ``-e``."""
    passed = {}
    for name in options.pass_variable:
        if name in os.environ:
            passed[name] = os.environ[name]
        else:
            logger.warning("--pass-variable %s: no such variable is set, so the command does not get it", name)
    return {**passed, **dict(options.env)}


def headers_of(options: argparse.Namespace) -> dict[str, str]:
    """Return the headers for every request, ``API_ACCESS_TOKEN`` among them. Raises ConfigError."""
    headers: dict[str, str] = {}
    for name, value in options.headers:
        _check_header_value(f"-H: the value of {name!r}", value)
        if name.lower() in HEADERS_REFUSED:
            raise ConfigError(f"-H: {name!r} belongs to the transport, which sets it where it is due; leave it out")
        if name.lower() not in HEADERS_IGNORED:
            headers[name] = value
    if token := os.environ.get("API_ACCESS_TOKEN"):
        _check_header_value("API_ACCESS_TOKEN", token)
        headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _check_header_value(what: str, value: str) -> None:
    if any(c in value for c in "\r\n\0"):
        raise ConfigError(f"{what} has a line break in it")


def warn_of_headers(options: argparse.Namespace) -> None:
    """Say which headers are ignored."""
    for name, _ in options.headers:
        if name.lower() in HEADERS_IGNORED:
            logger.warning("-H %s is set by the transport itself: ignored", name)


def secrets_of(options: argparse.Namespace, headers: dict[str, str], url: str | None) -> list[str]:
    """Return the values that no log may show: whole, and without the scheme before them."""
    own = [(name, getattr(options, name, None) or "") for name in SECRET_OPTIONS]
    passed = [(name, os.environ.get(name, "")) for name in options.pass_variable]
    named = secrets_in([*passed, *(tuple(pair) for pair in options.env)], headers, url)
    return [*secrets_named(own), *named, *options.configured.secrets, *_secrets_of_proxies()]


def _secrets_of_proxies() -> list[str]:
    """Return the passwords in HTTP_PROXY and its like: whole, and as they stand there."""
    found = []
    for name, value in os.environ.items():
        if name.lower().endswith("_proxy") and "@" in value:
            with contextlib.suppress(ValueError):
                password = urlsplit(value if "://" in value else f"http://{value}").password or ""
                found += [one for one in {password, unquote(password)} if len(one) >= 4]
    return found


def secrets_in(env: Iterable[tuple[str, str]], headers: Mapping[str, str], url: str | None) -> list[str]:
    """Return those of one server."""
    values = list(headers.values())
    variables = [(name, value) for name, value in env if is_secret_variable(name, value)]
    named = [(name, value) for name, value in variables if is_secret_name(name)]
    if url is not None:
        with contextlib.suppress(ValueError):  # what is no URL is said later
            parts = urlsplit(url)
            # Both as it stands there, which a server sees and may repeat, and as it is meant.
            spelt = (part.partition("=") for part in parts.query.split("&"))
            named += [*parse_qsl(parts.query), *((unquote(name), value) for name, _, value in spelt)]
            # A user without a password is a token.
            login = [parts.username or ""] if parts.password is None else [parts.password]
            values += [*login, *map(unquote, login)]
    values += [value.partition(" ")[2] for value in values]
    values += [*secrets_named(named), *(value for _, value in variables)]
    return [value for value in dict.fromkeys(values) if len(value) >= 4]


def secrets_named(named: Iterable[tuple[str, str]]) -> list[str]:
    """Return the values of what is named like a secret: whole, and without the scheme before them."""
    values = [value for name, value in named if is_secret_name(name)]
    return [one for value in values for one in (value, value.partition(" ")[2]) if len(one) >= 4]
