"""The kinds of stores: files, the keyring of the system, and memory."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from relay.endpoints.http.client.oauth.keyring_store import KeyringStore, fault_of_keyring
from relay.endpoints.http.client.oauth.store import LockBusy, Store, store_directory
from relay.errors import ConfigError

__all__ = ["MemoryStore", "open_store"]

logger = logging.getLogger("relay")


class MemoryStore(Store):
    """Logins that end with the program."""

    kind = "memory"

    def __init__(self) -> None:
        super().__init__(Path("memory"))
        self._kept: dict[str, bytes] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def _read(self, name: str) -> bytes | None:
        return self._kept.get(name)

    def _write(self, name: str, content: bytes) -> None:
        self._kept[name] = content

    def _delete(self, name: str) -> bool:
        return self._kept.pop(name, None) is not None

    def _names(self, prefix: str) -> list[str]:
        return sorted(name for name in self._kept if name.startswith(prefix))

    @contextlib.asynccontextmanager
    async def lock(self, name: str, seconds: float) -> AsyncIterator[None]:
        """Hold a lock against all other tasks. Raises LockBusy after ``seconds``."""
        lock = self._locks.setdefault(name, asyncio.Lock())
        try:
            async with asyncio.timeout(seconds):
                await lock.acquire()
        except TimeoutError:
            raise LockBusy from None
        try:
            yield
        finally:
            lock.release()


def open_store(kind: str, directory: str | None, *, warn: Callable[[str], Any] = logger.warning) -> Store:
    """Return the store of a kind. ``auto``: the keyring if it works, else files, with one warning.

    Raises ConfigError if the keyring is wanted and does not work.
    """
    match kind:
        case "memory":
            return MemoryStore()
        case "file":
            return Store(store_directory(directory))
    fault = fault_of_keyring()
    if fault is None:
        return KeyringStore(store_directory(directory))
    if kind == "keyring":
        raise ConfigError(f"--token-store keyring: {fault}; use --token-store file")
    warn(f"--token-store auto: {fault}; logins are kept in files")
    return Store(store_directory(directory))
