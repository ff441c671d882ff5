"""Logins at a real authorization server: oidc-provider, with RFC 7591, 7009, 8628, 8707 and 9207, and rotation."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import msgspec
import pytest

from relay.auth.outbound.oauth.options import OAuthOptions
from relay.endpoints.http.client.oauth import device
from relay.endpoints.http.client.oauth.accounts import log_out, open_account
from relay.endpoints.http.client.oauth.credentials import OAuthCredentials
from tests import peers
from tests.endpoints.http.client.oauth.house import call, house

pytestmark = [pytest.mark.only_loop("uvloop"), pytest.mark.timeout(90)]
Patch = pytest.MonkeyPatch


class RealServer:
    """The address of the server, and its control."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.url = f"{origin}/mcp"

    async def refuse_all(self) -> None:
        """Let the MCP server refuse every access token that it has seen."""
        async with aiohttp.ClientSession() as session, session.post(f"{self.origin}/control", json={"refuse": True}):
            pass


@pytest.fixture(scope="module")
def real() -> Iterator[RealServer]:
    peers.install("oidc")
    pipe = subprocess.PIPE
    with subprocess.Popen(peers.authorization_server(), stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None and server.stdin is not None
        yield RealServer(server.stdout.readline().decode().strip())
        server.stdin.close()


async def test_a_login_lasts_steps_up_and_ends(real: RealServer, tmp_path: Path, monkeypatch: Patch) -> None:
    """Registration, login, cold start, refresh with rotation, step-up and logout with revocation."""
    async with house(real, tmp_path, monkeypatch) as here:
        credentials = here.start()
        first = await here.call(credentials)
        assert set(first["result"]["scope"].split()) == {"mcp:read"}, "offline_access is not the resource's"
        query = parse_qs(urlsplit(here.browser.opened[0]).query)
        assert query["scope"] == ["mcp:read offline_access"] and query["prompt"] == ["consent"]
        again = here.start()
        assert "result" in await here.call(again), "a cold start"
        for _ in range(2):
            before = again.tokens
            await real.refuse_all()
            assert "result" in await here.call(again)
            assert before is not None and again.tokens is not None
            assert again.tokens.refresh_token not in (None, before.refresh_token), "it rotates"
        assert len(here.browser.opened) == 1
        stepped = await here.call(again, method="tools/call")
        assert set(stepped["result"]["scope"].split()) == {"mcp:read", "mcp:write"}
        assert stepped["result"]["client"] == first["result"]["client"], "one registration"
        assert len(here.browser.opened) == 2
        tokens = again.tokens
        assert tokens is not None
        report = await log_out(open_account(real.url, OAuthOptions(store_dir=str(here.folder))))
        assert report.was_logged_in and report.is_revoked, report.why_not
        headers = {"Authorization": f"Bearer {tokens.access_token}"}
        async with aiohttp.ClientSession() as session, session.post(real.url, json={}, headers=headers) as response:
            assert response.status == 401, "revoked at the server"


async def test_a_stolen_refresh_token_ends_the_login(real: RealServer, tmp_path: Path, monkeypatch: Patch) -> None:
    """Reuse detection of the server: a used refresh token ends all; the relay asks the person once."""
    async with house(real, tmp_path, monkeypatch) as here:
        credentials = here.start()
        await here.call(credentials)
        stolen = credentials.tokens
        assert stolen is not None and stolen.refresh_token is not None
        await real.refuse_all()
        await here.call(credentials)
        form = {
            "grant_type": "refresh_token",
            "refresh_token": stolen.refresh_token,
            "client_id": stolen.client.client_id,
        }
        async with aiohttp.ClientSession() as session, session.post(stolen.token_endpoint, data=form) as response:
            assert (await response.json())["error"] == "invalid_grant"
        assert "result" in await here.call(credentials)
        assert len(here.browser.opened) == 2


async def test_a_metadata_document_is_the_client(real: RealServer, tmp_path: Path, monkeypatch: Patch) -> None:
    """CIMD: the server fetches the document, which has the redirect URI without a port, as RFC 8252, 7.3 allows."""
    document = "https://relay.example/client.json"
    async with house(real, tmp_path, monkeypatch) as here:
        answer = await here.call(here.start(client_metadata_url=document))
        assert answer["result"]["client"] == document


async def test_a_code_on_another_device(real: RealServer, tmp_path: Path, monkeypatch: Patch) -> None:
    """RFC 8628: the person enters the code while the relay asks."""
    asked = device.ask_for_code

    async def ask(*arguments: Any) -> Any:
        window = await asked(*arguments)
        await enter_code(window.shown_url)
        return msgspec.structs.replace(window, interval=0.0)

    monkeypatch.setattr("relay.endpoints.http.client.oauth.login.ask_for_code", ask)
    async with house(real, tmp_path, monkeypatch) as here:
        credentials = here.start(grant="device")
        answer = await here.call(credentials)
        assert "mcp:read" in answer["result"]["scope"], here.told
        assert credentials.tokens is not None and credentials.tokens.is_refreshable
        await real.refuse_all()
        assert "result" in await here.call(credentials)
        assert not here.browser.opened


_SHOW = """
import os, subprocess, sys
page, url = sys.argv[1:]
words = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={page}.profile", "--dump-dom"]
with open(page, "wb") as file:
    subprocess.run([*words, url], stdout=file, stderr=subprocess.DEVNULL, timeout=60)
os.rename(page, f"{page}.done")
"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium on PATH")
async def test_a_login_in_a_real_browser(real: RealServer, tmp_path: Path, monkeypatch: Patch) -> None:
    """Chromium, as BROWSER names it: the window opens, the server redirects, and the page says that it is done."""
    program, page = tmp_path / "show.py", tmp_path / "page"
    program.write_text(_SHOW)
    monkeypatch.setenv("BROWSER", f"{shlex.join([sys.executable, '-S', str(program), str(page)])} %s")
    credentials = OAuthCredentials(real.url, OAuthOptions(store_dir=str(tmp_path / "store"), callback_host="localhost"))
    assert "result" in await call(real.url, credentials)
    done = page.with_name("page.done")
    while not done.exists():
        await asyncio.sleep(0.02)
    assert "You are logged in" in done.read_text()
    await credentials.aclose()


async def enter_code(url: str) -> None:
    """Do what a person does on the server's pages."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with session.get(url) as response:
            page = await response.text()
        for _ in range(4):
            fields = dict(re.findall(r'<input[^>]*name="(\w+)"[^>]*value="([^"]*)"', page))
            if "xsrf" not in fields:
                return
            async with session.post(url.partition("?")[0], data={**fields, "confirm": "yes"}) as response:
                page = await response.text()
