"""What the commands do with logins."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from relay.auth.outbound.credentials import LoginFailed
from relay.auth.outbound.oauth.options import OAuthOptions
from relay.endpoints.http.client.oauth import login
from relay.endpoints.http.client.oauth.account import Account
from relay.endpoints.http.client.oauth.accounts import (
    describe_needs,
    import_from_mcp_remote,
    list_logins,
    log_in_now,
    log_out,
    open_account,
)
from relay.errors import ConfigError
from tests.endpoints.http.client.oauth.authority import Authority, authority
from tests.endpoints.http.client.oauth.house import House, house

pytestmark = pytest.mark.only_loop("uvloop")
Patch = pytest.MonkeyPatch


def account(here: House, **options: object) -> Account:
    made = OAuthOptions(**{"store_dir": str(here.folder), **options})  # type: ignore[arg-type]  # the fields
    return open_account(here.place.url, made, tell=here.told.append)


async def test_a_login_is_made_listed_and_revoked(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-37: login asks even if there is one; status has no secret; logout revokes both tokens (RFC 7009)."""
    async with authority(challenge_scope="a b") as place, house(place, tmp_path, monkeypatch) as here:
        made = await log_in_now(account(here))
        again = await log_in_now(account(here))
        await log_in_now(account(here, profile="work"))
        assert len(here.browser.opened) == 3 and len(place.registrations) == 2
        assert (made.scope, made.is_refreshable, made.kept_in, made.issuer) == ("a b", True, "file", place.origin)
        logins = list_logins(account(here).store)
        assert [(one.url, one.profile) for one in logins] == [(place.url, ""), (place.url, "work")]
        assert logins[0] == again and logins[0].expires_at is not None and logins[0].expires_at > time.time()
        assert not any(token in repr(logins) for token in (*place.tokens, *place.refresh_tokens))
        assert "result" in await here.call(here.start())
        report = await log_out(account(here))
        assert report.was_logged_in and report.is_revoked
        hints = [form["token_type_hint"] for form in place.forms if "token_type_hint" in form]
        assert hints == ["refresh_token", "access_token"]
        assert [one.profile for one in list_logins(account(here).store)] == ["work"]
        assert here.start().current() == {}
        assert not (await log_out(account(here))).was_logged_in


@pytest.mark.parametrize("way", ["none", "down"])
async def test_a_logout_deletes_what_it_cannot_revoke(tmp_path: Path, monkeypatch: Patch, way: str) -> None:
    """O-37: and says why."""
    metadata = {"revocation_endpoint": None} if way == "none" else {}
    async with authority(metadata=metadata) as place, house(place, tmp_path, monkeypatch) as here:
        await log_in_now(account(here))

        async def down(request: web.Request) -> web.Response:
            return web.Response(status=503)

        place.replies["POST /revoke"] = down
        report = await log_out(account(here))
        assert report.was_logged_in and not report.is_revoked
        assert ("offers no revocation" if way == "none" else "HTTP 503") in report.why_not
        assert list_logins(account(here).store) == []


async def test_a_pasted_address_completes_a_login(tmp_path: Path, monkeypatch: Patch) -> None:
    """--no-browser: the person's browser is on another machine, whose localhost is not ours; a wrong one is said."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        wrong = iter(["", "http://127.0.0.1:1/oauth/callback?code=x&state=y", "nonsense"])

        async def paste() -> str:
            for address in wrong:
                return address
            url = next(line for line in here.told if "/authorize" in line).split(": ", 3)[-1]
            async with aiohttp.ClientSession() as session, session.get(url, allow_redirects=False) as response:
                return f"  {response.headers['Location']}\n"

        made = await log_in_now(account(here, opens_browser=False), paste=paste)
        assert made.issuer == place.origin and not here.browser.opened
        assert sum("whole address" in line for line in here.told) == 3


async def test_a_redirect_to_another_machine_needs_a_pasted_address(tmp_path: Path, monkeypatch: Patch) -> None:
    """A client that is registered with one address only: the relay cannot listen there."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        place.add_client("mine", method="none")
        options = {"client_id": "mine", "redirect_uri": "https://company.example/done"}
        answer = await here.call(here.start(**options))
        assert "mcp-relay auth login --no-browser" in answer["error"] and not here.browser.opened
        here.browser.is_away = True

        async def paste() -> str:
            url = next(line for line in here.told if "/authorize" in line).split(": ", 3)[-1]
            async with aiohttp.ClientSession() as session, session.get(url, allow_redirects=False) as response:
                return response.headers["Location"]

        await log_in_now(account(here, **options), paste=paste)
        assert "result" in await here.call(here.start(**options))
        assert place.authorizations[0]["redirect_uri"] == "https://company.example/done"


async def test_another_login_waits_for_the_open_window(tmp_path: Path, monkeypatch: Patch) -> None:
    """Two at once: the second says where the window of the first is, and uses its login."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        monkeypatch.setattr(login, "_QUIET_SECONDS", 0.0)
        here.browser.is_away = True
        calls = [asyncio.ensure_future(here.call(here.start()))]  # noqa: TID251  # awaited below
        while not here.browser.opened:
            await asyncio.sleep(0.005)
        calls += [asyncio.ensure_future(here.call(here.start())) for _ in range(3)]  # noqa: TID251  # awaited below
        while sum("another process" in line for line in here.told) < 3:
            await asyncio.sleep(0.005)
        assert len(here.browser.opened) == 1
        assert all(here.browser.opened[0] in line for line in here.told if "another process" in line)
        await here.browser.visit(here.browser.opened[0])
        assert all("result" in answer for answer in await asyncio.gather(*calls))
        assert len(here.browser.opened) == 1 == len(place.grants_of("authorization_code"))


async def test_what_a_server_needs_is_described(tmp_path: Path, monkeypatch: Patch) -> None:
    """`mcp-relay test`: from the server's metadata, without a login."""
    metadata = {"device_authorization_endpoint": "{origin}/device"}
    scopes = {"scopes_supported": ["x"]}
    async with (
        authority(metadata=metadata, resource_metadata=scopes) as place,
        house(place, tmp_path, monkeypatch) as here,
    ):
        needs = await describe_needs(account(here), ['Bearer scope="a b"'])
        assert needs.issuer == place.origin and needs.scopes == ("a", "b") and needs.has_device_flow
        assert (await describe_needs(account(here), [])).scopes == ("x",)
        assert not place.registrations and not here.browser.opened
        place.resource = "https://other.example"
        with pytest.raises(LoginFailed, match="its resource is"):
            await describe_needs(account(here), [])


# mcp-remote's logins.


async def logged_in_by_mcp_remote(place: Authority, here: House, folder: Path, **change: object) -> None:
    """Write what mcp-remote 0.15 writes, with tokens that the authorization server knows."""
    credentials = here.start(profile="other")
    await here.call(credentials)
    tokens = credentials.tokens
    assert tokens is not None
    stem = hashlib.md5(place.url.encode()).hexdigest()
    kept = folder / "mcp-remote-v1"
    kept.mkdir(parents=True)
    issuer = {"issuer": place.origin, **change}
    (kept / f"{stem}_tokens.json").write_text(
        json.dumps(
            {
                "access_token": tokens.access_token, "refresh_token": tokens.refresh_token, "token_type": "bearer",
                "expires_at": (time.time() + 3600) * 1000, "scope": "a", "expires_in": 3600, **issuer,
            }
        )
    )  # fmt: skip
    client = {"client_id": tokens.client.client_id, "redirect_uris": [], "issuer": place.origin}
    (kept / f"{stem}_client_info.json").write_text(json.dumps(client))


async def test_a_login_of_mcp_remote_is_taken_over(tmp_path: Path, monkeypatch: Patch) -> None:
    """Without a window; and it is refreshed as the client that mcp-remote registered."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        await logged_in_by_mcp_remote(place, here, tmp_path / "remote")
        monkeypatch.setenv("MCP_REMOTE_CONFIG_DIR", str(tmp_path / "remote"))
        made = await import_from_mcp_remote(account(here), place.url)
        assert made.is_refreshable and made.issuer == place.origin
        place.expire()
        assert "result" in await here.call(here.start())
        assert len(here.browser.opened) == 1 == len(place.grants_of("refresh_token"))


@pytest.mark.parametrize("issuer", [None, "https://evil.example"])
async def test_a_login_without_an_issuer_is_not_taken_over(
    tmp_path: Path, monkeypatch: Patch, issuer: str | None
) -> None:
    """Nothing tells which authorization server may see its refresh token."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        await logged_in_by_mcp_remote(place, here, tmp_path / "remote", issuer=issuer)
        with pytest.raises(ConfigError, match="mcp-relay auth login"):
            await import_from_mcp_remote(account(here), place.url, tmp_path / "remote")
        with pytest.raises(ConfigError, match="no login of mcp-remote"):
            await import_from_mcp_remote(account(here), place.url + "/", tmp_path / "remote")
