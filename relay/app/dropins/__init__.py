"""The command lines of other bridges: their words become ours, so that one word changes in a configuration.

``mcp-relay as NAME …``, or the program started through a link or a copy called NAME, reads what follows as NAME does:

    reader.py         what all tables share: argparse that names what is not supported, and the native words they write
    supergateway.py   supergateway 4.0.0
    mcp_proxy.py      mcp-proxy 0.13.0 of sparfenyuk, and stephenlacy's in Rust (rmcp-proxy)
    punkpeye.py       mcp-proxy 6.7.19 of punkpeye, from npm
    tbxark.py         mcp-proxy 0.43.2 of TBXark, which is configured by a file
    mcp_remote.py     mcp-remote 0.15.1
    fastmcp.py        the script mcp_proxy_server.py (fastmcp-proxy), and fastmcp-remote 4.1.4
    mcp_connect.py    mcp-connect
    translate.py      mcpgateway.translate (ContextForge 1.0.7)
    thelia.py         the gateway of Thelia-Lzr's mcp-proxy (python server.py)

Each has one function, which takes the words after the name and returns native ones: what ``mcp-relay`` itself would be
given. None of it is loaded unless a name asks for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from relay.app.dropins.reader import Native
from relay.app.log.stderr import StderrSink, say
from relay.errors import ConfigError

__all__ = ["TOOLS", "name_of_program", "native_args"]

TOOLS = {
    "mcp-proxy": "mcp_proxy:which",
    "sparfenyuk": "mcp_proxy:python",
    "mcp-proxy-rs": "mcp_proxy:rust",
    "rmcp-proxy": "mcp_proxy:rust",
    "punkpeye": "punkpeye:read",
    "tbxark": "tbxark:read",
    "supergateway": "supergateway:read",
    "mcp-remote": "mcp_remote:read",
    "fastmcp-proxy": "fastmcp:proxy",
    "fastmcp-remote": "fastmcp:remote",
    "mcp-connect": "mcp_connect:read",
    "translate": "translate:read",
    "thelia": "thelia:read",
}
"""Where each name's words are read: a module beside this one, and a function in it."""

_HELP = f"""\
usage: mcp-relay as NAME [WORDS…]

Read WORDS as the program NAME does, and do what it would; a link to mcp-relay that is called NAME needs no as.
NAME is one of
  {f"{chr(10)}  ".join(TOOLS)}

mcp-relay as NAME --help lists what is known of each. A command called as goes after --.
"""


def name_of_program(program: str) -> str | None:
    """Return the tool whose name the program was started under, if it is one of them."""
    name = os.path.basename(program)
    name = name[:-4] if name.lower().endswith(".exe") else name
    return name if name in TOOLS else None


def native_args(name: str | None, args: Sequence[str], sink: StderrSink) -> list[str]:
    """Translate a tool's words into those of ``mcp-relay``, and say what is different. Raises ConfigError."""
    if name in ("-h", "--help"):
        sys.stdout.write(_HELP)
        raise SystemExit(0)
    name = name and name.partition("@")[0]  # as in npx mcp-remote@latest
    if name not in TOOLS:
        what = "no program is named" if name is None else f"{name!r} is not a program whose words are known"
        raise ConfigError(f"as: {what}; known: {', '.join(TOOLS)}; a command called as goes after --")
    module, _, function = TOOLS[name].partition(":")
    read: Callable[[str, Sequence[str]], Native] = getattr(import_module(f"{__name__}.{module}"), function)
    native = read(name, args)
    for note in native.notes:
        say(sink, note)
    if not native.takes_token:
        os.environ.pop("API_ACCESS_TOKEN", None)  # which this tool does not send, and would overwrite its own header
    if not native.takes_proxy:
        # In small letters it counts before NO_PROXY; and nobody looks for the system's proxies where it is set.
        os.environ["no_proxy"] = "*"
    return native.args
