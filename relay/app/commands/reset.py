"""``mcp-relay reset``: delete the logins that stephenlacy's mcp-proxy keeps (SURFACES.md §2.5).

They are files of three kinds in ``mcp-proxy-rust-VERSION`` below ``MCP_REMOTE_CONFIG_DIR``, or ``~/.mcp-auth``. All
other files there stay, among them other programs' logins. Links are not followed.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any

from relay.app.log.stderr import StderrSink
from relay.app.options.log import add_log_options, begin_log
from relay.app.options.parser import Parser
from relay.errors import RelayError

__all__ = ["build_parser", "command", "reset"]

_FOLDER = re.compile(r"mcp-proxy-rust-[\w.+-]+", re.ASCII)
_FILE = re.compile(r"auth-[0-9a-f]+\.(json|lock)|client-registration-[0-9a-f]+\.json")


def command(args: Sequence[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    """Return the job that these arguments ask for. Raises ConfigError."""
    begin_log(build_parser().parse_args(args), (), sink)
    return reset()


def build_parser() -> Parser:
    """Return the parser of its arguments."""
    parser = Parser(
        prog="mcp-relay reset",
        description="Delete the logins that stephenlacy's mcp-proxy keeps in ~/.mcp-auth, or MCP_REMOTE_CONFIG_DIR,\n"
        "and say which files they were. Nothing else there is touched.",
        allow_abbrev=False,
    )
    add_log_options(parser)
    return parser


async def reset() -> int:
    """Delete the files and report on stdout; return the exit code. Raises RelayError if one cannot be deleted."""
    _delete()
    return 0


def _delete() -> None:
    base = os.environ.get("MCP_REMOTE_CONFIG_DIR") or os.path.join(os.path.expanduser("~"), ".mcp-auth")
    removed = 0
    try:
        for folder in _folders(base):
            for path in _files(folder):
                os.unlink(path)
                removed += 1
                sys.stdout.write(f"removed {path}\n")
            if not os.listdir(folder):
                os.rmdir(folder)
                sys.stdout.write(f"removed {folder}\n")
    except OSError as exc:
        raise RelayError(f"cannot delete {exc.filename}: {os.strerror(exc.errno or 0)}") from exc
    finally:
        sys.stdout.flush()
    if not removed:
        sys.stdout.write(f"no logins in {base}\n")


def _folders(base: str) -> Iterator[str]:
    """Yield the folders of every version, but for links."""
    if not os.path.isdir(base):
        return
    for name in sorted(os.listdir(base)):
        path = os.path.join(base, name)
        if _FOLDER.fullmatch(name) and stat.S_ISDIR(os.lstat(path).st_mode):
            yield path


def _files(folder: str) -> Iterator[str]:
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if _FILE.fullmatch(name) and stat.S_ISREG(os.lstat(path).st_mode):
            yield path
