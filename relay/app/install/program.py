"""The command with which a client starts this program, wherever the client looks for programs."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys

__all__ = ["DISTRIBUTION", "PROGRAMS", "own_command", "stranger_on_path", "uvx_command"]

logger = logging.getLogger("relay")

DISTRIBUTION = "mcp-frame-relay"
"""The name of the package. Another project owns the name mcp-relay on PyPI, and its package has a program mcp-relay."""
PROGRAMS = ("mcp-relay", "mcp-frame-relay")
_CACHES = {".cache", "Caches", "archive-v0"}  # of uvx, and of pipx run
_OURS = re.compile(rb"\brelay\.cli\b")
_MOST_OF_SCRIPT = 4096  # bytes of a script that pip, pipx or uv writes to start a program


def own_command() -> list[str]:
    """Return the full path of this program: clients have a short PATH and a working directory of their own."""
    if (stranger := stranger_on_path()) is not None:
        logger.warning("%s belongs to another package: use the program %s instead", stranger, PROGRAMS[1])
    beside = os.path.join(os.path.dirname(sys.executable), PROGRAMS[0])
    started_as = sys.argv[0] if os.path.basename(sys.argv[0]).removesuffix(".exe") in PROGRAMS else ""
    for candidate in (started_as, beside):
        if candidate and (found := shutil.which(candidate)) and _is_ours(found):
            found = os.path.abspath(found)
            if _CACHES & {*found.split(os.sep)}:
                logger.warning(
                    "%s is in a cache and will not stay: uv tool install %s first, or give --uvx", found, DISTRIBUTION
                )
            return [found]
    return [sys.executable, "-m", "relay"]


def uvx_command() -> list[str]:
    """Return the command that downloads this version of the program if need be, and starts it."""
    from importlib.metadata import version

    found = shutil.which("uvx")
    if found is None:
        logger.warning("uvx is not on your PATH: the client will need it: install uv")
    return [found or "uvx", f"{DISTRIBUTION}@{version(DISTRIBUTION)}"]


def stranger_on_path() -> str | None:
    """Return the path of the ``mcp-relay`` that a shell finds, if another package installed it; None otherwise."""
    found = shutil.which(PROGRAMS[0])
    return None if found is None or _is_ours(found) else os.path.abspath(found)


def _is_ours(path: str) -> bool:
    """Tell whether a program starts this package, by the import in its script. A program of an unknown form is ours."""
    try:
        with open(path, "rb") as file:
            text = file.read(_MOST_OF_SCRIPT)
    except OSError:
        return True
    return not text.startswith(b"#!") or b"import" not in text or _OURS.search(text) is not None
