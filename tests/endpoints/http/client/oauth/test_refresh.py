"""Refreshing a login: once for all, durably, and without a window unless the login has ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from relay.auth.outbound.credentials import LoginFailed, Refusal
from relay.endpoints.http.client.oauth.credentials import OAuthCredentials
from relay.endpoints.http.client.oauth.store import Store
from tests.endpoints.http.client.oauth.authority import authority
from tests.endpoints.http.client.oauth.house import House, house

pytestmark = pytest.mark.only_loop("uvloop")
Patch = pytest.MonkeyPatch


def age(here: House, credentials: OAuthCredentials, seconds: float) -> OAuthCredentials:
    """Make the kept login older, and return a relay that starts then."""
    store = Store(here.folder)
    tokens = store.tokens_of(store.entry(credentials.url, credentials.options.profile))
    assert tokens is not None and tokens.expires_at is not None
    older = msgspec.structs.replace(
        tokens, obtained_at=tokens.obtained_at - seconds, expires_at=tokens.expires_at - seconds
    )
    store._save_tokens(credentials.url, older)
    return here.start()


def unavailable(status: int) -> Callable[[web.Request], object]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text="down")

    return answer


async def test_an_expired_token_is_refreshed_before_the_call(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-32, O-35: the server sees no refused call; the refresh names the resource and no scope."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        credentials = here.start()
        await here.call(credentials)
        again = age(here, credentials, 3541)
        assert again.current() is None, "60 s before the end"
        before = place.count("POST /mcp")
        assert "result" in await here.call(again)
        assert place.count("POST /mcp") == before + 1
        (form,) = place.grants_of("refresh_token")
        assert form["resource"] == place.url and "scope" not in form
        assert len(here.browser.opened) == 1


async def test_a_refused_token_is_refreshed_once_for_all_calls(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-32, O-33: 50 calls of 3 relays with one store; rotation with reuse detection."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        credentials = here.start()
        await here.call(credentials)
        relays = [credentials, here.start(), here.start()]
        for _ in range(2):
            place.expire()
            answers = await asyncio.gather(*(here.call(relays[number % 3]) for number in range(50)))
            assert all("result" in answer for answer in answers)
        assert len(place.grants_of("refresh_token")) == 2
        assert not place.refused and len(here.browser.opened) == 1


async def test_a_login_that_has_ended_leads_to_one_window(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-34: invalid_grant."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        credentials = here.start()
        await here.call(credentials)
        place.expire()
        place.refresh_tokens.clear()
        answers = await asyncio.gather(*(here.call(credentials) for _ in range(20)))
        assert all("result" in answer for answer in answers)
        assert len(here.browser.opened) == 2 and place.refused == {"invalid_grant": 1}
        assert len(place.registrations) == 1, "O-18: the registration stays"


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_token_endpoint_that_is_down_costs_no_login(tmp_path: Path, monkeypatch: Patch, status: int) -> None:
    """O-34: the token stays, no window opens, and the server is asked again only after a while."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        credentials = here.start()
        await here.call(credentials)
        place.expire()
        place.replies["POST /token"] = unavailable(status)  # type: ignore[assignment]  # an async function
        for _ in range(3):
            answer = await here.call(credentials)
            assert f"HTTP {status}" in answer["error"] and "tries again by itself" in answer["error"]
        assert place.count("POST /token") == 2, "one for the login, one for three calls"
        place.replies.clear()
        assert "result" in await here.call(here.start())
        assert len(here.browser.opened) == 1


async def test_no_network_costs_no_login(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-34: and while the token is still good, it is used."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        credentials = here.start()
        await here.call(credentials)
        store = Store(here.folder)
        tokens = store.tokens_of(store.entry(credentials.url, ""))
        assert tokens is not None
        store._save_tokens(credentials.url, msgspec.structs.replace(tokens, token_endpoint="http://127.0.0.1:9/token"))
        again = age(here, credentials, 3580)
        assert again.current() is None
        assert "result" in await here.call(again), "20 s before its end the token is good"
        old = age(here, credentials, 60)
        assert (
            "cannot connect" in (await here.call(old))["error"].lower() or "refused" in (await here.call(old))["error"]
        )
        assert len(here.browser.opened) == 1


async def test_a_refresh_without_a_new_refresh_token_keeps_the_old_one(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-34."""
    async with authority(rotates=False) as place, house(place, tmp_path, monkeypatch) as here:
        credentials = here.start()
        await here.call(credentials)
        for _ in range(2):
            place.expire()
            assert "result" in await here.call(credentials)
        forms = place.grants_of("refresh_token")
        assert len({form["refresh_token"] for form in forms}) == 1 and len(forms) == 2


async def test_the_new_refresh_token_is_on_the_disk_before_the_new_token_is_used(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    """O-34: a relay that dies now does not lose the login."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        credentials = here.start()
        await here.call(credentials)
        place.expire()
        seen: list[str | None] = []

        async def look(request: web.Request) -> None:
            store = Store(here.folder)
            tokens = store.tokens_of(store.entry(credentials.url, ""))
            if tokens is not None and f"Bearer {tokens.access_token}" == request.headers.get("Authorization"):
                seen.append(tokens.refresh_token)

        place.replies["POST /mcp"] = look
        assert "result" in await here.call(credentials)
        assert seen[-1] == next(reversed(place.refresh_tokens))


async def test_a_token_without_an_end_is_used_until_it_is_refused(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-30: expires_in is missing."""
    async with authority(lifetime=None) as place, house(place, tmp_path, monkeypatch) as here:
        credentials = here.start()
        await here.call(credentials)
        monkeypatch.setattr(time, "time", lambda: 4e9)
        assert credentials.current() != {} and credentials.current() is not None


async def test_without_a_refresh_token_the_next_401_opens_a_window(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-32: an expired token is sent all the same, because the refusal says what is needed."""
    async with authority(issues_refresh=False) as place, house(place, tmp_path, monkeypatch) as here:
        credentials = here.start()
        await here.call(credentials)
        place.expire()
        again = age(here, credentials, 4000)
        assert "result" in await here.call(again)
        assert len(here.browser.opened) == 2 and not place.grants_of("refresh_token")


async def test_a_background_refusal_asks_no_person(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-01: a GET stream that is refused refreshes the login, and opens no window."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        credentials = here.start()
        await credentials.renew(Refusal(401, is_background=True))
        assert credentials.current() == {} and not here.browser.opened
        await here.call(credentials)
        sent = credentials.current()
        assert sent is not None
        await credentials.renew(Refusal(401, sent=sent, is_background=True))
        assert credentials.current() != sent and len(here.browser.opened) == 1


async def test_after_its_end_a_login_starts_nothing(tmp_path: Path, monkeypatch: Patch) -> None:
    """A relay that shuts down opens no window."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        credentials = here.start()
        await here.call(credentials)
        await credentials.aclose()
        for one in (credentials, here.start(profile="unused")):
            await one.aclose()
            with pytest.raises(LoginFailed, match="shutting down"):
                await one.renew(Refusal(401, sent=one.current() or {}))
        assert len(here.browser.opened) == 1
