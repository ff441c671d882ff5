"""Replace a user's file atomically, and keep a backup beside it."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from datetime import datetime

from relay.errors import RelayError

__all__ = ["read_if_there", "replace_file"]


def read_if_there(path: str) -> bytes | None:
    """Return what is in a file, or None if there is none. Raises RelayError."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise RelayError(f"cannot read {path}: {exc.strerror or exc}") from exc


def replace_file(path: str, data: bytes, *, before: bytes | None, mode: int) -> str | None:
    """Replace a file that held ``before`` (None: no file), and return the path of its backup.

    Mode and owner stay; a new file gets ``mode``, less the umask. Of a symlink the target is replaced. Raises
    RelayError, and changes nothing, if another program changed the file meanwhile.
    """
    real = os.path.realpath(path)
    try:
        os.makedirs(os.path.dirname(real), exist_ok=True)
        if read_if_there(real) != before:
            raise RelayError(f"{path} was changed by another program meanwhile; run this again")
        found = os.stat(real) if before is not None else None
        if found is not None and not os.access(real, os.W_OK):
            raise RelayError(f"cannot write {path}: it is read-only")
        # After the backup: whatever fails, nothing is lost.
        backup = _keep(path, before, found) if before is not None and found is not None else None
        _put(real, data, found, mode)
    except OSError as exc:
        raise RelayError(f"cannot write {path}: {exc.strerror or exc}; nothing was changed") from exc
    return backup


def _keep(path: str, data: bytes, found: os.stat_result) -> str:
    """Write a copy beside a file, under a new name."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    for number in range(1, 1000):
        backup = f"{path}.backup-{stamp}" + (f"-{number}" if number > 1 else "")
        try:
            descriptor = os.open(backup, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        except FileExistsError:
            continue
        _fill(descriptor, data)
        _make_like(backup, found)
        return backup
    raise RelayError(f"cannot keep a backup of {path}: 999 of this second are there")


def _put(real: str, data: bytes, found: os.stat_result | None, mode: int) -> None:
    folder, name = os.path.split(real)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    try:
        _fill(descriptor, data)
        if found is not None:
            _make_like(temporary, found)
        else:
            umask = os.umask(0o077)
            os.umask(umask)
            os.chmod(temporary, mode & ~umask)
        os.replace(temporary, real)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _make_like(path: str, found: os.stat_result) -> None:
    if sys.platform != "win32":
        with contextlib.suppress(PermissionError):  # only root may change the owner
            os.chown(path, found.st_uid, found.st_gid)
    os.chmod(path, stat.S_IMODE(found.st_mode))


def _fill(descriptor: int, data: bytes) -> None:
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
