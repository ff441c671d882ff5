"""The short PATH of clients that a desktop starts: without the directories that the user's shell adds."""

from __future__ import annotations

import os
import shutil
import sys

__all__ = ["is_found_anyway", "path_for_script"]

_SHORT = {
    "darwin": ("/usr/bin", "/bin", "/usr/sbin", "/sbin"),  # not even /usr/local/bin
    "linux": ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"),
}


def is_found_anyway(program: str) -> bool:
    """Tell whether such a client finds the program by its name; on Windows it always does."""
    return sys.platform == "win32" or os.path.dirname(program) in _short()


def path_for_script(program: str, path: str | None) -> str | None:
    """Return the PATH that the script ``program`` needs, if its interpreter is found on ``path`` and not anyway."""
    name = _interpreter(program)
    found = name and shutil.which(name, path=path)
    if not found or is_found_anyway(os.path.abspath(found)):
        return None
    return os.pathsep.join((os.path.dirname(os.path.abspath(found)), *_short()))


def _short() -> tuple[str, ...]:
    return _SHORT.get(sys.platform, _SHORT["linux"])


def _interpreter(program: str) -> str | None:
    """Return the name that ``#!/usr/bin/env NAME`` looks for; None if the file says no name, or says a full path."""
    try:
        with open(program, "rb") as file:
            first = file.readline(256)
    except OSError:
        return None
    env, *args = os.fsdecode(first[2:]).split() if first.startswith(b"#!") else [""]
    if os.path.basename(env) != "env":
        return None
    return next((word for word in args if not word.startswith("-") and "=" not in word), None)
