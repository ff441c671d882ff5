"""The gateway of Thelia-Lzr's mcp-proxy (``python server.py``), which takes no arguments: variables, and ``./.env``.

Its web pages may be of any origin, so pages of any origin may use this gateway, without credentials of the browser.
Its faults are not copied: without a token nothing starts, and names are judged by their addresses.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from relay.app.dropins.reader import EVERYWHERE, Native, ToolParser
from relay.errors import ConfigError

__all__ = ["read", "read_env_file"]

_DESCRIPTION = """\
Let web pages call MCP servers: POST /proxy, and WebSocket at /ws.

PROXY_TOKEN, HOST (default 0.0.0.0) and PORT (default 8000) are variables, or
lines of ./.env.
"""
_VARIABLES = ("PROXY_TOKEN", "HOST", "PORT")
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*")
_MOST = 64 * 1024


def read(name: str, args: Sequence[str]) -> Native:
    """Read the variables. Raises ConfigError."""
    ToolParser(name, _DESCRIPTION, "").read(args)
    found = {key: value for key, value in read_env_file(".env").items() if key in _VARIABLES}
    for key, value in found.items():
        os.environ.setdefault(key, value)
    port = os.environ.get("PORT", "8000").strip() or "8000"
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"PORT: {port!r} is not a port from 0 to 65535")
    native = Native(takes_token=False)
    native.args.append("gateway")
    native.listen(os.environ.get("HOST", "").strip() or EVERYWHERE, int(port))
    native.add("--allow-origin", "*")
    return native


def read_env_file(path: str) -> Mapping[str, str]:
    """Return the variables in a file of lines ``NAME=value``; none if it does not exist. Raises ConfigError."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = file.read(_MOST).splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not a text file in UTF-8"
        raise ConfigError(f"{path}: cannot be read: {why}") from None
    matches = (_LINE.fullmatch(line) for line in lines)
    return {match[1]: _value(match[2]) for match in matches if match is not None}


def _value(text: str) -> str:
    """Return a value without its quotes; a comment may follow a blank."""
    for quote in ("'", '"'):
        if text.startswith(quote) and (end := text.find(quote, 1)) > 0:
            return text[1:end]
    return re.split(r"(?:^|\s)#", text, maxsplit=1)[0].strip()
