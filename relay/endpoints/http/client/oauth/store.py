"""Keep logins between starts, and hold the locks between processes.

One directory holds one small JSON file for each login, registration, server and open window. Each file is replaced as
a whole. The operating system holds the locks, and releases those of a process that has died. ``filelock``,
``platformdirs`` and ``keyring`` are imported when they are needed, because a start reads at most two files.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from relay.auth.outbound.oauth.records import (
    Client,
    OpenWindow,
    ServerEntry,
    Tokens,
    client_key,
    decode_record,
    encode_record,
    server_key,
)
from relay.endpoints.http.client.oauth.directory import store_directory
from relay.endpoints.http.client.oauth.files import (
    delete_private,
    make_private_directory,
    read_private,
    write_private,
)

__all__ = ["LockBusy", "Store", "store_directory"]

logger = logging.getLogger("relay")

_LOCK_POLL = 0.05  # seconds between two tries to take a lock that another process holds
_Record = TypeVar("_Record", bound=msgspec.Struct)


class LockBusy(Exception):
    """Another process holds a lock for longer than the caller waits."""


class Store:
    """Logins in files. The methods block for a few file operations; ``save_tokens`` and others wait for the disk."""

    kind = "file"

    def __init__(self, directory: Path) -> None:
        """Keep the files in ``directory``, which is made with the first of them."""
        self.directory = directory

    # What a store is made of; a store of another kind replaces these.

    def _read(self, name: str) -> bytes | None:
        return read_private(self.directory / f"{name}.json")

    def _write(self, name: str, content: bytes) -> None:
        write_private(self.directory / f"{name}.json", content)

    def _delete(self, name: str) -> bool:
        return delete_private(self.directory / f"{name}.json")

    def _names(self, prefix: str) -> list[str]:
        if not self.directory.is_dir():
            return []
        return sorted(path.stem for path in self.directory.glob(f"{prefix}*.json"))

    @contextlib.asynccontextmanager
    async def lock(self, name: str, seconds: float) -> AsyncIterator[None]:
        """Hold a lock against all other tasks and processes. Raises LockBusy after ``seconds``."""
        from filelock import FileLock, Timeout

        make_private_directory(self.directory)
        lock = FileLock(self.directory / f"{name}.lock", mode=0o600, thread_local=False)
        end = asyncio.get_running_loop().time() + seconds
        while True:
            try:
                lock.acquire(timeout=0)
                break
            except Timeout:
                if asyncio.get_running_loop().time() >= end:
                    raise LockBusy from None
                # A thread that waits for the lock would keep the program from ending.
                await asyncio.sleep(_LOCK_POLL)
        try:
            yield
        finally:
            lock.release()

    # Records.

    def _find(self, name: str, kind: type[_Record]) -> _Record | None:
        content = self._read(name)
        if content is None:
            return None
        found = decode_record(content, kind)
        if found is None:
            logger.warning("%s: %s.json is not readable; the relay does without it", self.directory, name)
        return found

    def entry(self, url: str, profile: str) -> ServerEntry:
        """Return what is known of a server's URL. Raises PrivateFileRefused."""
        found = self._find(server_key(url, profile), ServerEntry)
        if found is None or (found.url, found.profile) != (url, profile):
            return ServerEntry(url=url, profile=profile)
        return found

    def save_entry(self, entry: ServerEntry) -> None:
        """Keep what is known of a server's URL."""
        self._write(server_key(entry.url, entry.profile), encode_record(entry))

    def delete_entry(self, entry: ServerEntry) -> None:
        """Forget a server's URL."""
        self._delete(server_key(entry.url, entry.profile))

    def entries(self) -> Iterator[ServerEntry]:
        """Return all servers' URLs that have an entry."""
        for name in self._names("server-"):
            if (found := self._find(name, ServerEntry)) is not None:
                yield found

    def tokens_of(self, entry: ServerEntry) -> Tokens | None:
        """Return a server's login, without the parts that are kept elsewhere. Raises PrivateFileRefused."""
        if entry.token_key is None:
            return None
        found = self._find(entry.token_key, Tokens)
        # The issuer stands in the file, too: a file under a false name is no login.
        return found if found is not None and found.key == entry.token_key and found.issuer == entry.issuer else None

    async def load_tokens(self, entry: ServerEntry) -> Tokens | None:
        """Return a server's login with all its parts. Raises PrivateFileRefused."""
        return self.tokens_of(entry)

    async def save_tokens(self, url: str, tokens: Tokens) -> None:
        """Keep a login as that of a server's URL. On return it is on the disk."""
        await asyncio.to_thread(self._save_tokens, url, tokens)

    def _save_tokens(self, url: str, tokens: Tokens) -> None:
        self._write(tokens.key, encode_record(tokens))
        entry = self.entry(url, tokens.profile)
        new = msgspec.structs.replace(entry, token_key=tokens.key, issuer=tokens.issuer, kept_in=self.kind)
        if new != entry:
            self.save_entry(new)

    async def delete_tokens(self, tokens: Tokens) -> None:
        """Forget a login."""
        self._delete(tokens.key)

    async def client(self, issuer: str, redirect_uri: str) -> Client | None:
        """Return the registration at an issuer for a redirect URI."""
        found = self._find(client_key(issuer, redirect_uri), _Registration)
        return None if found is None or found.issuer != issuer else found.client

    async def save_client(self, issuer: str, client: Client) -> None:
        """Keep a registration."""
        record = encode_record(_Registration(issuer, client))
        await asyncio.to_thread(self._write, client_key(issuer, client.redirect_uri), record)

    async def delete_client(self, issuer: str, client: Client) -> None:
        """Forget a registration that the issuer no longer knows."""
        self._delete(client_key(issuer, client.redirect_uri))

    def window(self, url: str, profile: str) -> OpenWindow | None:
        """Return the login of a server that waits for a person."""
        found = self._find(_window_name(url, profile), OpenWindow)
        return found if found is not None and (found.url, found.profile) == (url, profile) else None

    def save_window(self, window: OpenWindow) -> None:
        """Keep a login that waits for a person."""
        self._write(_window_name(window.url, window.profile), encode_record(window))

    def delete_window(self, url: str, profile: str) -> None:
        """Forget a login that waited for a person."""
        self._delete(_window_name(url, profile))


class _Registration(msgspec.Struct, frozen=True):
    issuer: str
    client: Client


def _window_name(url: str, profile: str) -> str:
    return "window-" + server_key(url, profile).removeprefix("server-")
