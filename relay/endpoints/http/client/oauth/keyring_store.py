"""Keep the lasting secrets of logins in the keyring of the operating system (extra ``keyring``).

The refresh token and the client secret go there; Windows allows 2560 bytes for each item. The access token, which
lasts an hour or so, stays in the file, so a start needs no keyring.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from relay.auth.outbound.oauth.records import Client, ServerEntry, Tokens, client_key
from relay.endpoints.http.client.oauth.store import Store
from relay.errors import ConfigError

__all__ = ["KeyringStore", "fault_of_keyring"]

_SERVICE = "mcp-relay"
_SECONDS = 5.0  # a locked keyring may ask a person, and a broken bus may never answer
_T = TypeVar("_T")


class _Secrets(msgspec.Struct, frozen=True):
    refresh_token: str | None = None
    client_secret: str | None = None


def fault_of_keyring() -> str | None:
    """Return why there is no keyring to use; None if there is one."""
    try:
        import keyring
        from keyring.backends import fail, null
    except ImportError:
        return "the package keyring is missing (pip install 'mcp-frame-relay[keyring]')"
    found = keyring.get_keyring()
    if isinstance(found, fail.Keyring | null.Keyring):
        return "this system has no keyring"
    return None


class KeyringStore(Store):
    """Logins in files, but for their lasting secrets."""

    kind = "keyring"

    def __init__(self, directory: Path) -> None:
        """Keep the files in ``directory``."""
        super().__init__(directory)

    async def load_tokens(self, entry: ServerEntry) -> Tokens | None:
        """Return a server's login with the secrets from the keyring."""
        tokens = self.tokens_of(entry)
        if tokens is None:
            return None
        secrets = await self._secrets(tokens.key)
        client = msgspec.structs.replace(tokens.client, client_secret=secrets.client_secret)
        return msgspec.structs.replace(tokens, refresh_token=secrets.refresh_token, client=client)

    async def save_tokens(self, url: str, tokens: Tokens) -> None:
        """Keep a login: first its secrets, then the file that needs them."""
        await self._keep(tokens.key, _Secrets(tokens.refresh_token, tokens.client.client_secret))
        client = msgspec.structs.replace(tokens.client, client_secret=None)
        await super().save_tokens(url, msgspec.structs.replace(tokens, refresh_token=None, client=client))

    async def delete_tokens(self, tokens: Tokens) -> None:
        """Forget a login and its secrets."""
        await super().delete_tokens(tokens)
        await self._drop(tokens.key)

    async def client(self, issuer: str, redirect_uri: str) -> Client | None:
        """Return a registration with its secret."""
        found = await super().client(issuer, redirect_uri)
        if found is None or found.auth_method == "none":
            return found
        secrets = await self._secrets(client_key(issuer, redirect_uri))
        return msgspec.structs.replace(found, client_secret=secrets.client_secret)

    async def save_client(self, issuer: str, client: Client) -> None:
        """Keep a registration."""
        if client.client_secret is not None:
            await self._keep(client_key(issuer, client.redirect_uri), _Secrets(None, client.client_secret))
        await super().save_client(issuer, msgspec.structs.replace(client, client_secret=None))

    async def delete_client(self, issuer: str, client: Client) -> None:
        """Forget a registration and its secret."""
        await super().delete_client(issuer, client)
        await self._drop(client_key(issuer, client.redirect_uri))

    async def _secrets(self, name: str) -> _Secrets:
        import keyring

        text = await _in_thread(lambda: keyring.get_password(_SERVICE, name))
        try:
            return msgspec.json.decode(text or "{}", type=_Secrets)
        except msgspec.MsgspecError:
            return _Secrets()

    async def _keep(self, name: str, secrets: _Secrets) -> None:
        import keyring

        text = msgspec.json.encode(secrets).decode()
        await _in_thread(lambda: keyring.set_password(_SERVICE, name, text))

    async def _drop(self, name: str) -> None:
        import keyring
        from keyring.errors import PasswordDeleteError

        def drop() -> None:
            try:
                keyring.delete_password(_SERVICE, name)
            except PasswordDeleteError:
                return

        await _in_thread(drop)


async def _in_thread(work: Callable[[], _T]) -> _T:
    """Run a call of the keyring in a thread that does not keep the program from ending. Raises ConfigError."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def end(result: _T | None, failure: Exception | None) -> None:
        if done.done():
            return
        if failure is not None:
            done.set_exception(failure)
        else:
            done.set_result(cast("_T", result))

    def run() -> None:
        try:
            result, failure = work(), None
        except Exception as exc:
            result, failure = None, exc
        with contextlib.suppress(RuntimeError):  # the program has ended
            loop.call_soon_threadsafe(end, result, failure)

    threading.Thread(target=run, name="keyring", daemon=True).start()
    try:
        async with asyncio.timeout(_SECONDS):
            return await done
    except TimeoutError:
        raise ConfigError(f"the keyring has not answered for {_SECONDS:.0f} s; use --token-store file") from None
    except Exception as exc:
        raise ConfigError(f"the keyring: {type(exc).__name__}: {exc}; use --token-store file") from exc
