"""Write and read files that only their owner may see. Only the standard library: a start may read one."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from pathlib import Path

from relay.errors import RelayError

__all__ = ["PrivateFileRefused", "delete_private", "make_private_directory", "read_private", "write_private"]

_MAX_FILE = 1024 * 1024
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_CLOSE = getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_HAS_MODES = sys.platform != "win32"


class PrivateFileRefused(RelayError):
    """A file or a directory of the store that others may read or replace. The message says how to mend it."""


def make_private_directory(path: Path) -> None:
    """Make a directory for its owner only, with its parents. Raises PrivateFileRefused and OSError."""
    if not path.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
    seen = os.lstat(path)
    if not stat.S_ISDIR(seen.st_mode):
        raise PrivateFileRefused(f"{path} is no directory; remove it, or name another with MCP_RELAY_AUTH_DIR")
    _check(path, seen, wanted="700")


def _check(path: Path, seen: os.stat_result, *, wanted: str) -> None:
    if not _HAS_MODES:
        return
    if seen.st_uid != os.geteuid():
        raise PrivateFileRefused(f"{path} belongs to another user ({seen.st_uid}); the relay does not use it")
    if seen.st_mode & 0o077:
        raise PrivateFileRefused(
            f"{path} is open to other users (mode {seen.st_mode & 0o777:o}); make it private: chmod {wanted} {path}"
        )


def read_private(path: Path) -> bytes | None:
    """Return a file's content, or None if there is no such file. Raises PrivateFileRefused.

    A link is refused, and so is a file that another user owns or may read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _NO_FOLLOW | _CLOSE | _BINARY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise PrivateFileRefused(f"{path} cannot be read: {exc.strerror}") from exc
    with os.fdopen(descriptor, "rb") as file:
        seen = os.fstat(file.fileno())
        if not stat.S_ISREG(seen.st_mode):
            raise PrivateFileRefused(f"{path} is no ordinary file; remove it")
        _check(path, seen, wanted="600")
        return file.read(_MAX_FILE)


def write_private(path: Path, content: bytes) -> None:
    """Replace a file as a whole, durably, readable only for its owner whatever the umask. Raises PrivateFileRefused.

    A process that dies in between leaves the old content.
    """
    make_private_directory(path.parent)
    if path.is_symlink():
        raise PrivateFileRefused(f"{path} is a link; remove it")
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | _CLOSE | _BINARY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_directory(path.parent)


def delete_private(path: Path) -> bool:
    """Delete a file durably; return whether there was one."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    _sync_directory(path.parent)
    return True


def _sync_directory(path: Path) -> None:
    if not _HAS_MODES:
        return  # Windows syncs no directories
    descriptor = os.open(path, os.O_RDONLY | _CLOSE)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
