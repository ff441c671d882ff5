"""What the tests of logins share: credentials with a store of their own, and a person with a browser."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urljoin

import aiohttp
import pytest
from yarl import URL

from relay.auth.outbound.credentials import LoginFailed
from relay.auth.outbound.oauth.options import OAuthOptions
from relay.auth.outbound.tries import ServerLogin
from relay.endpoints.http.client.oauth import login as login_module
from relay.endpoints.http.client.oauth.credentials import OAuthCredentials
from relay.frames.frame import Frame

__all__ = ["Browser", "House", "Place", "call", "call_often", "house"]


class Browser:
    """Follows a login's address as a browser does, in a task of the test."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.pages: list[tuple[int, str, Mapping[str, str]]] = []
        self.is_away = False
        """Whether nobody looks at the window."""
        self.change: Callable[[str], str] | None = None
        """Changes the address of the callback before it is opened."""
        self._visits: set[asyncio.Task[None]] = set()

    async def open(self, url: str, *, allow_http: bool = False) -> None:
        """Open an address, and return at once."""
        self.opened.append(url)
        if not self.is_away:
            task = asyncio.get_running_loop().create_task(self.visit(url))
            self._visits.add(task)
            task.add_done_callback(self._visits.discard)

    async def visit(self, url: str) -> None:
        """Follow the redirects of an address to the last page."""
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            while True:
                async with session.get(URL(url, encoded=True), allow_redirects=False) as response:
                    if response.status not in (302, 303):
                        self.pages.append((response.status, await response.text(), dict(response.headers)))
                        return
                    url = urljoin(url, response.headers["Location"])
                if self.change is not None and "/oauth/callback" in url:
                    url = self.change(url)

    async def close(self) -> None:
        """Wait until every page has come."""
        while self._visits:
            await asyncio.wait(self._visits)


class Place(Protocol):
    """Anything with a protected server."""

    @property
    def url(self) -> str:
        """The server's address."""


class House:
    """One store, one browser, and as many relays as a test starts."""

    def __init__(self, place: Place, folder: Path, browser: Browser) -> None:
        self.place = place
        self.folder = folder
        self.browser = browser
        self.told: list[str] = []
        self._started: list[OAuthCredentials] = []

    def start(self, **options: Any) -> OAuthCredentials:
        """Return the credentials of a relay that starts now."""
        options = {"store_dir": str(self.folder), "auth_timeout": 30.0, **options}
        made = OAuthCredentials(self.place.url, OAuthOptions(**options), tell=self.told.append)
        self._started.append(made)
        return made

    async def call(self, credentials: OAuthCredentials, **message: Any) -> dict[str, Any]:
        """Make one call as the ways to a server do; return the answer, or the error under ``"error"``."""
        return await call(self.place.url, credentials, **message)

    async def close(self) -> None:
        for one in self._started:
            await one.aclose()
        await self.browser.close()


async def call(url: str, credentials: OAuthCredentials, *, method: str = "tools/list") -> dict[str, Any]:
    """Make one call with as many tries as a transport makes."""
    (answer,) = await call_often(url, credentials, 1, method=method)
    return answer


async def call_often(
    url: str, credentials: OAuthCredentials, number: int, *, method: str = "tools/list"
) -> list[dict[str, Any]]:
    """Make calls at once."""
    login = ServerLogin(credentials, url)
    frame = Frame(b'{"jsonrpc":"2.0","id":1,"method":"%s"}' % method.encode())
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=16)) as session:
        return await asyncio.gather(*(_call(url, login, frame, session) for _ in range(number)))


async def _call(url: str, login: ServerLogin, frame: Frame, session: aiohttp.ClientSession) -> dict[str, Any]:
    tries = login.tries(frame)
    try:
        while True:
            headers = dict(await tries.headers())
            async with session.post(url, data=frame.raw, headers=headers) as response:
                if not await tries.may_send_again(response.status, response.headers):
                    if response.status == 200:
                        return dict(await response.json())
                    return {"error": f"HTTP {response.status}"}
    except LoginFailed as exc:
        return {"error": str(exc)}


@contextlib.asynccontextmanager
async def house(place: Place, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """Open a house whose browser is the test's."""
    browser = Browser()
    monkeypatch.setattr(login_module, "open_browser", browser.open)
    monkeypatch.setattr(login_module, "has_browser", lambda: True)
    made = House(place, folder / "store", browser)
    try:
        yield made
    finally:
        await made.close()
