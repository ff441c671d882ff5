"""How users write addresses: where to listen, and which server to reach.

``stdio:`` · ``http://127.0.0.1:8080/mcp`` (WebSocket at the same address) · ``tcp://127.0.0.1:9000`` · ``unix:/path``;
with TLS ``https://`` and ``tls://``; listening also ``fd:3``, an inherited socket.
"""

from __future__ import annotations

import re
import shlex
import shutil
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from relay.addresses import fault_of_url, shown_address
from relay.errors import ConfigError

__all__ = [
    "ADDRESSES",
    "URL_SCHEMES",
    "ListenSpec",
    "address_meant",
    "fault_of_scheme",
    "is_address",
    "is_url",
    "parse_listen",
    "words_of_command",
]

URL_SCHEMES = ("http://", "https://")

ADDRESSES = ("http://", "https://", "ws://", "wss://", "tcp://", "tls://", "unix:", "stdio:")
"""How an address of a server begins; anything else is a command."""

_EXPECTED = (
    "expected stdio:, http://127.0.0.1:8080/mcp, ws://127.0.0.1:8080/mcp, tcp://127.0.0.1:9000, unix:/path or fd:3"
)


_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")


def fault_of_scheme(target: str) -> str | None:
    """Return what is wrong with an address of an unknown scheme; None for anything else."""
    scheme = None if is_address(target) else _SCHEME.match(target)
    if scheme is None:
        return None
    return f"{scheme[0]}… is neither a command nor an address of a kind that is known: {', '.join(ADDRESSES)}"


_BARE = re.compile(r"(localhost|\[[0-9a-fA-F:.]+\]|[\w-]+(?:\.[\w-]+)+|[\w-]+(?=:))(:\d+)?(/\S*)?")
_LOCAL = ("localhost", "127.", "[::1]")


def address_meant(target: str) -> str | None:
    """Return the URL that ``localhost:9911/mcp`` means: a host with a port or a path. None for others."""
    found = _BARE.fullmatch(target)
    if found is None or not (found[2] or found[3]):
        return None
    scheme = "http" if found[1].startswith(_LOCAL) else "https"
    return f"{scheme}://{target}{'' if found[3] else '/mcp'}"


def is_address(target: str) -> bool:
    """Tell whether a target is an address of an MCP server; anything else is a command."""
    return target.lower().startswith(ADDRESSES)


class ListenSpec(msgspec.Struct, frozen=True):
    """One address to listen on. ``ws://`` is ``http``: a WebSocket is an upgraded request at the same address.

    ``https://`` and ``tls://`` are ``http`` and ``socket/tcp`` with TLS.
    """

    kind: Literal["stdio", "http", "tcp", "unix"]
    host: str = "127.0.0.1"
    port: int = 0
    path: str = ""
    descriptor: int | None = None
    """The inherited socket, if there is one."""
    is_tls: bool = False

    def __str__(self) -> str:
        """Return it as a user writes it."""
        if self.kind in ("stdio", "unix"):
            return f"{self.kind}:{self.path}"
        scheme = {"http": "https", "tcp": "tls"}[self.kind] if self.is_tls else self.kind
        return f"{scheme}://[{self.host}]:{self.port}" if ":" in self.host else f"{scheme}://{self.host}:{self.port}"


_SPLITS = frozenset(" \t\n'\"")


def words_of_command(text: str) -> list[str]:
    """Return the words of a command that is written as one text, as a shell would split it. Raises ConfigError.

    The path of a program that exists is one word, blanks and all.
    """
    if _SPLITS.isdisjoint(text) or shutil.which(text) is not None:
        return [text] if text else []
    try:
        return shlex.split(text)
    except ValueError as exc:
        raise ConfigError(f"the command cannot be read: {exc}; put quotes around a word with blanks in it") from exc


def is_url(target: str) -> bool:
    """Tell whether a target is a URL of an MCP server; anything else is another address, or a command."""
    return target.lower().startswith(URL_SCHEMES)


def parse_listen(text: str, mcp_path: str | None = None) -> ListenSpec:
    """Read where to listen. Raises ConfigError.

    ``mcp_path`` is the value of ``--mcp-path``, which the address may repeat; None without that option.
    """
    if text.lower() in ("stdio:", "stdio"):
        return ListenSpec("stdio")
    if text[:3].lower() == "fd:":
        return _listen_at_descriptor(text)
    if text[:5].lower() == "unix:":
        path = text[5:].removeprefix("//")
        if not path or "\0" in path:
            raise ConfigError(f"--listen: {text!r} names no path; {_EXPECTED}")
        return ListenSpec("unix", path=path)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise ConfigError(
            f"--listen: {shown_address(text)!r} is not an address: {fault_of_url(exc)}; {_EXPECTED}"
        ) from exc
    if not host or parts.query or parts.fragment or "@" in parts.netloc:
        raise ConfigError(f"--listen: {shown_address(text)!r} is not an address to listen on; {_EXPECTED}")
    if parts.scheme in ("http", "ws", "https", "wss"):
        if parts.path.rstrip("/") not in ("", "/mcp", (mcp_path or "").rstrip("/")):
            remedy = "leave it out" if mcp_path is None else f"leave it out, or add --mcp-path {parts.path}"
            raise ConfigError(
                f"--listen: {shown_address(text)!r}: the path {parts.path} is not {mcp_path or '/mcp'}; {remedy}"
            )
        return ListenSpec("http", host, port or 0, is_tls=parts.scheme in ("https", "wss"))
    if parts.scheme in ("tcp", "tls") and not parts.path.strip("/"):
        return ListenSpec("tcp", host, port or 0, is_tls=parts.scheme == "tls")
    raise ConfigError(f"--listen: {shown_address(text)!r} is not an address to listen on; {_EXPECTED}")


def _listen_at_descriptor(text: str) -> ListenSpec:
    """Read ``fd:N``, a socket that this process inherited. Raises ConfigError if it is no listening socket."""
    from relay.app.systemd.sockets import take_over

    descriptor, address = take_over(text)
    if isinstance(address, tuple):
        return ListenSpec("http", *address, descriptor=descriptor)
    return ListenSpec("http", "localhost", path=address, descriptor=descriptor)
