"""What a login touches around it: imports at a start, the browser's process, and private networks."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from relay.auth.outbound.oauth.urls import UnusableUrl
from relay.endpoints.http.client.oauth.browser import has_browser, open_browser
from relay.endpoints.http.client.oauth.web import AuthorizationWeb, ServerUnreachable
from tests.endpoints.http.client.oauth.authority import authority

pytestmark = pytest.mark.only_loop("uvloop")

_START = """
import json, sys
from relay.endpoints.http.client.oauth.credentials import OAuthCredentials
made = OAuthCredentials("https://mcp.example/mcp")
print(json.dumps([dict(made.current()), sorted(sys.modules)]))
"""
_HEAVY = (
    "aiohttp", "filelock", "platformdirs", "keyring", "joserfc", "cryptography", "yarl", "webbrowser",
    "relay.endpoints.http.client.oauth.renewal", "relay.endpoints.http.client.oauth.login",
)  # fmt: skip


@pytest.mark.parametrize("has_login", [False, True])
async def test_a_start_loads_nothing_of_a_login(tmp_path: Path, has_login: bool) -> None:
    """O-01: neither without a login nor with one in the store; its token is there at once."""
    store = tmp_path / "auth"
    if has_login:
        from relay.endpoints.http.client.oauth.store import Store
        from tests.endpoints.http.client.oauth.test_store import tokens

        await Store(store).save_tokens("https://mcp.example/mcp", tokens())
    environment = {**os.environ, "MCP_RELAY_AUTH_DIR": str(store)}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _START, env=environment, stdout=-1)
    out, _ = await process.communicate()
    headers, modules = json.loads(out)
    assert headers == ({"Authorization": "Bearer canary-access"} if has_login else {})
    assert not [name for name in _HEAVY if name in modules]
    assert not store.exists() or has_login


_NOTING = """
import json, os, sys
with open(sys.argv[1], "w") as file:
    json.dump({"url": sys.argv[2], "environment": dict(os.environ), "stdout": os.readlink("/proc/self/fd/1")}, file)
os.rename(sys.argv[1], sys.argv[1] + ".done")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
async def test_a_browser_gets_nothing_of_the_relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """O-27: no secret in its environment, no stdout, which is the protocol; and the address byte for byte."""
    note, program = tmp_path / "note", tmp_path / "browser.py"
    program.write_text(_NOTING)
    words = [sys.executable, "-S", str(program), str(note)]
    monkeypatch.setenv("BROWSER", f"{shlex.join(words)} %s")
    monkeypatch.setenv("API_ACCESS_TOKEN", "canary")
    monkeypatch.setenv("MCP_RELAY_CLIENT_SECRET", "canary")
    monkeypatch.setenv("XDG_SESSION_TYPE", "wayland")
    assert has_browser()
    url = "https://as.example/authorize?a=%20%26&b=$HOME;id&c=~"
    await open_browser(url)
    done = note.with_suffix(".done")
    while not done.exists():
        await asyncio.sleep(0.01)
    seen: dict[str, Any] = json.loads(done.read_text())
    assert seen["url"] == url and seen["stdout"] == "/dev/null"
    assert "canary" not in str(seen["environment"]) and seen["environment"]["XDG_SESSION_TYPE"] == "wayland"


@pytest.mark.parametrize(
    "url",
    ["-http://x", "file:///etc/passwd", "javascript:x", "https://x/`id`", "https://x/ y", "http://10.0.0.1/", "x"],
)
async def test_a_browser_opens_only_addresses(url: str) -> None:
    """O-12, O-27: whatever an authorization server names."""
    with pytest.raises(UnusableUrl):
        await open_browser(url)


def test_a_machine_without_a_screen_has_no_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """O-27: unless BROWSER names one."""
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert not has_browser()
    monkeypatch.setenv("DISPLAY", ":0")
    assert has_browser()


async def test_a_public_server_cannot_name_a_private_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """O-14: no connection is made, whether the address is written or a name resolves to it."""

    async def resolve(host: str, port: int) -> Any:
        known = {"public.example": "93.184.216.34", "inside.example": "127.0.0.1"}
        return await asyncio.get_running_loop().getaddrinfo(known[host], port)

    monkeypatch.setattr("relay.endpoints.http.client.oauth.web.addresses_of", resolve)
    async with authority() as canary:
        port = canary.origin.rpartition(":")[2]
        web = AuthorizationWeb(server="https://public.example/mcp")
        for url in (f"{canary.origin}/x", f"http://localhost:{port}/x", f"http://[::ffff:127.0.0.1]:{port}/x"):
            with pytest.raises(ServerUnreachable, match="--oauth-allow-private"):
                await web.get(url, limit=1000)
        assert canary.log == []
        private = AuthorizationWeb(server="http://inside.example/mcp")
        assert (await private.get(f"{canary.origin}/x", limit=1000))[0] == 404
        assert canary.log == ["GET /x"], "a corporate authorization server beside a corporate server"
        allowed = AuthorizationWeb()
        assert (await allowed.get(f"{canary.origin}/x", limit=1000))[0] == 404


async def test_an_unknown_server_is_unreachable() -> None:
    """The error names the address and what happened, in one line."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(ServerUnreachable) as caught:
        await AuthorizationWeb().get(f"http://127.0.0.1:{port}/x?secret=canary", limit=10)
    assert f"http://127.0.0.1:{port}/x" in str(caught.value)
    assert "canary" not in str(caught.value) and "\n" not in str(caught.value)
