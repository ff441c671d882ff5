"""``mcp-relay auth`` and what ``mcp-relay test`` says of logins, with an authorization server that counts."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from relay.app.commands import auth as auth_command
from relay.app.doctor import cli as doctor
from relay.app.log.stderr import StderrSink
from relay.endpoints.http.client.oauth import login as login_module
from relay.endpoints.http.client.oauth.store import Store
from relay.errors import ConfigError
from tests.endpoints.http.client.oauth.authority import Authority, authority
from tests.endpoints.http.client.oauth.house import Browser
from tests.endpoints.http.house import until

pytestmark = pytest.mark.only_loop("asyncio")
Run = Callable[..., Coroutine[Any, Any, tuple[int, str, str]]]


@pytest.fixture
def browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Browser:
    """Give the commands a browser and a store of the test's own."""
    found = Browser()
    monkeypatch.setattr(login_module, "open_browser", found.open)
    monkeypatch.setattr(login_module, "has_browser", lambda: True)
    monkeypatch.setattr(auth_command, "begin_log", lambda *_: None)
    monkeypatch.setenv("MCP_RELAY_AUTH_DIR", str(tmp_path / "store"))
    monkeypatch.setenv("MCP_REMOTE_CONFIG_DIR", str(tmp_path / "remote"))
    return found


@pytest.fixture
def run(browser: Browser, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command; return its exit code, and what it wrote."""

    async def run(*words: str) -> tuple[int, str, str]:
        sink = StderrSink()
        code = await auth_command.auth(words, sink)
        sink.flush()
        out, err = capfd.readouterr()
        await browser.close()
        return code, out, err

    return run


async def test_login_status_logout(run: Run, browser: Browser) -> None:
    """One window; a line without secrets; the end is revoked at the server and gone here."""
    async with authority() as place:
        code, out, err = await run("login", place.url)
        assert code == 0 and out.startswith(f"{place.url}: logged in at {place.origin} as client-"), out
        assert "kept in file" in out and len(browser.opened) == 1 and browser.opened[0] in err
        tokens = [*place.tokens, *place.refresh_tokens]
        _, shown, _ = await run("status")
        (kept,) = json.loads((await run("status", "--json", place.url))[1])
        assert (kept["url"], kept["issuer"], kept["is_refreshable"]) == (place.url, place.origin, True)
        assert shown == out and not any(one in shown + str(kept) + err for one in tokens)
        assert await run("logout", place.url) == (0, f"{place.url}: revoked and deleted\n", "")
        assert place.count("POST /revoke") == 2
        assert await run("status", place.url) == (1, f"no login for {place.url}\n", "")


async def test_a_login_in_memory_ends_with_the_command(run: Run) -> None:
    """The line says so, in place of a directory; the next command finds nothing."""
    async with authority() as place:
        code, out, _ = await run("login", "--token-store", "memory", place.url)
        assert code == 0 and out.endswith(", kept in memory until this command ends\n")
        assert await run("status", place.url) == (1, f"no login for {place.url}\n", "")


async def test_several_accounts(run: Run) -> None:
    """Each has its own login; --all ends every one, also where nothing can be revoked."""
    async with authority() as place:
        place.metadata["revocation_endpoint"] = None
        for profile in ("work", "home"):
            assert (await run("login", "--profile", profile, place.url))[0] == 0
        _, out, _ = await run("status")
        assert [line.partition(":")[2].split("(account ")[1].split(")")[0] for line in out.splitlines()] == [
            "home",
            "work",
        ]
        assert (await run("logout", place.url))[1] == "no login to end\n"
        _, out, _ = await run("logout", "--all")
        assert out.count("deleted here, but not revoked") == 2
        assert (await run("status"))[1] == "no login for any server\n"


async def test_the_address_can_be_pasted(
    run: Run, browser: Browser, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The browser is on another machine: the person pastes the last page's address; a wrong one does no harm."""
    reading, writing = os.pipe()
    with open(reading, encoding="utf-8") as stdin, open(writing, "w", encoding="utf-8") as typed:
        monkeypatch.setattr("sys.stdin", stdin)
        async with authority() as place, asyncio.TaskGroup() as group:
            login = group.create_task(run("login", "--no-browser", place.url))
            typed.write("https://elsewhere/?code=x&state=y\n")
            typed.write(await last_page(place, tmp_path / "store") + "\n")
            typed.close()
            code, out, err = await login
    assert code == 0 and "logged in at" in out and browser.opened == []
    assert "paste it here" in err and "This is not the address" in err


async def last_page(place: Authority, folder: Path) -> str:
    """Follow the window's address on another machine; return where it leads, which cannot be reached from there."""
    store = Store(folder)
    await until(lambda: folder.is_dir() and store.window(place.url, "") is not None)
    window = store.window(place.url, "")
    assert window is not None
    async with (
        aiohttp.ClientSession() as session,
        session.get(window.shown_url, allow_redirects=False) as response,
    ):
        return response.headers["Location"]


async def test_a_login_of_mcp_remote_is_taken_over(run: Run, tmp_path: Path) -> None:
    """If the issuer is recorded; else the relay says why not."""
    async with authority() as place:
        folder = tmp_path / "remote" / "mcp-remote-v1"
        folder.mkdir(parents=True)
        stem = hashlib.md5(place.url.encode()).hexdigest()
        tokens = {"access_token": "a-1", "refresh_token": "r-1", "token_type": "Bearer", "issuer": place.origin}
        client = {"client_id": "remote-1", "issuer": place.origin}
        (folder / f"{stem}_tokens.json").write_text(json.dumps(tokens))
        (folder / f"{stem}_client_info.json").write_text(json.dumps(client))
        code, out, err = await run("import", place.url)
        assert code == 0 and "as remote-1" in out and "may end the copy of mcp-remote" in err
        del tokens["issuer"]
        (folder / f"{stem}_tokens.json").write_text(json.dumps(tokens))
        with pytest.raises(ConfigError, match="has not recorded which authorization server"):
            await run("import", place.url)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["login", "h"], "is not a URL of the form https://host/path"),
        (["login", "unix:/x"], "is not a URL of the form https://host/path"),
        (["logout"], "name the server's URL, or say --all"),
        (["logout", "--all", "https://h/mcp"], "name the server's URL, or say --all"),
        (["login", "--client-secret", "canary", "https://h/mcp"], "has no effect without --client-id"),
    ],
)
async def test_mistakes(run: Run, words: list[str], said: str) -> None:
    """One line that says what to write."""
    with pytest.raises(ConfigError, match=said) as found:
        await run(*words)
    assert "canary" not in str(found.value)


async def test_the_test_says_which_login_is_needed(
    browser: Browser, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It opens no window, and names what the server's metadata name; with a login kept, it uses it."""
    monkeypatch.setattr(doctor, "begin_log", lambda *_: None)
    monkeypatch.setattr(doctor, "_Once", lambda: None)
    async with authority() as place:
        place.resource_metadata["scopes_supported"] = ["read", "write"]
        sink = StderrSink()
        assert await doctor.command((place.url,), sink) == 1
        sink.flush()
        said = f"login needed: mcp-relay auth login {place.url} (at {place.origin} with the scopes read write)"
        assert said in capfd.readouterr().err
        assert browser.opened == [] and place.count("POST /register") == 0
        over_websocket = place.url.replace("http", "ws", 1)
        assert await doctor.command((over_websocket,), sink) == 1
        sink.flush()
        assert f"login needed: mcp-relay auth login {over_websocket} (at {place.origin} " in capfd.readouterr().err
