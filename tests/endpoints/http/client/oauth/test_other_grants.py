"""Logins without a browser here: device code, client credentials, and signed assertions."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web
from joserfc import jwk, jwt

from relay.endpoints.http.client.oauth import device, login
from relay.endpoints.http.client.oauth.assertion import read_key
from relay.errors import ConfigError
from tests.endpoints.http.client.oauth.authority import Authority, Grant, authority
from tests.endpoints.http.client.oauth.house import house

pytestmark = pytest.mark.only_loop("uvloop")
Patch = pytest.MonkeyPatch
DEVICE = {"device_authorization_endpoint": "{origin}/device"}


@pytest.fixture
def naps(monkeypatch: Patch) -> list[float]:
    """The pauses between polls, which take no time here."""
    taken: list[float] = []
    sleep = asyncio.sleep

    async def nap(seconds: float) -> None:
        taken.append(seconds)
        await sleep(0)

    monkeypatch.setattr(device.asyncio, "sleep", nap)  # type: ignore[attr-defined]  # the module's import
    return taken


async def test_a_code_is_shown_and_asked_for(tmp_path: Path, monkeypatch: Patch, naps: list[float]) -> None:
    """RFC 8628: the code is shown, slow_down is honoured, the resource is named, and no window opens."""
    async with authority(metadata=DEVICE, device_polls=4) as place, house(place, tmp_path, monkeypatch) as here:
        credentials = here.start(grant="device", scope="a")
        assert "result" in await here.call(credentials)
        assert "WDJB-MJHT" in here.told[0] and f"{place.origin}/enter" in here.told[0]
        first, *polls = place.forms
        assert first["scope"] == "a" and first["resource"] == place.url and len(polls) == 5
        assert all(form["resource"] == place.url and "device_code" in form for form in polls)
        assert [nap for nap in naps if nap] == [1.0, 6.0, 6.0, 11.0, 11.0]
        assert "urn:ietf:params:oauth:grant-type:device_code" in place.registrations[0]["grant_types"]
        assert not here.browser.opened and "result" in await here.call(here.start())


async def test_without_a_browser_the_device_flow_is_used(tmp_path: Path, monkeypatch: Patch, naps: list[float]) -> None:
    """A headless machine: if the server has the flow, and nobody has asked for --no-browser."""
    async with authority(metadata=DEVICE) as place, house(place, tmp_path, monkeypatch) as here:
        monkeypatch.setattr(login, "has_browser", lambda: False)
        assert "result" in await here.call(here.start())
        assert place.count("POST /device") == 1 and not here.browser.opened
        assert "urn:ietf:params:oauth:grant-type:device_code" in place.registrations[0]["grant_types"]


@pytest.mark.parametrize(("error", "words"), [("access_denied", "access_denied"), ("expired_token", "expired_token")])
async def test_a_code_that_was_refused_is_an_error(
    tmp_path: Path, monkeypatch: Patch, naps: list[float], error: str, words: str
) -> None:
    """RFC 8628, 3.5."""
    async with authority(metadata=DEVICE) as place, house(place, tmp_path, monkeypatch) as here:

        async def refuse(request: web.Request) -> web.Response:
            return place._deny(error)

        place.replies["POST /token"] = refuse
        assert words in (await here.call(here.start(grant="device")))["error"]


async def test_a_server_without_the_device_flow_is_named(tmp_path: Path, monkeypatch: Patch) -> None:
    """The error says what to do."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        assert "--device-code" in (await here.call(here.start(grant="device")))["error"]


async def test_a_verification_address_must_be_safe(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-12: a person is sent there."""
    async with authority(metadata=DEVICE) as place, house(place, tmp_path, monkeypatch) as here:

        async def answer(request: web.Request) -> web.Response:
            document = {
                "device_code": "d",
                "user_code": "u",
                "verification_uri": "http://evil.example/",
                "expires_in": 9,
            }
            return place._json(document)

        place.replies["POST /device"] = answer
        assert "--oauth-allow-http" in (await here.call(here.start(grant="device")))["error"]


# Client credentials.


def machine(place: Authority, **options: object) -> dict[str, object]:
    return {"grant": "client", "client_id": "robot", "issuer": place.origin, **options}


@pytest.mark.parametrize("methods", [None, ["client_secret_basic"], ["client_secret_post"]])
async def test_a_secret_gets_a_token_without_a_person(
    tmp_path: Path, monkeypatch: Patch, methods: list[str] | None
) -> None:
    """RFC 6749, 4.4: with the resource and the challenge's scope; nothing is kept; expiry costs a new request."""
    metadata = {"token_endpoint_auth_methods_supported": methods}
    async with authority(metadata=metadata, challenge_scope="a") as place, house(place, tmp_path, monkeypatch) as here:
        place.add_client("robot", "canary-secret")
        credentials = here.start(**machine(place, client_secret="canary-secret"))
        for _ in range(2):
            assert "result" in await here.call(credentials)
            place.expire()
        (one, two) = place.grants_of("client_credentials")
        assert one["resource"] == place.url and one["scope"] == "a" == two["scope"]
        assert not here.folder.exists() and not here.browser.opened and not place.registrations
        if methods is None or "client_secret_basic" in methods:
            assert "client_secret" not in one


async def test_a_secret_in_the_other_place(tmp_path: Path, monkeypatch: Patch) -> None:
    """Some servers accept the secret only in the form, and do not say so."""
    metadata = {"token_endpoint_auth_methods_supported": None}
    async with authority(metadata=metadata) as place, house(place, tmp_path, monkeypatch) as here:
        place.add_client("robot", "canary-secret")

        async def only_in_form(request: web.Request) -> web.Response | None:
            return place._deny("invalid_client", 401) if "Authorization" in request.headers else None

        place.replies["POST /token"] = only_in_form
        assert "result" in await here.call(here.start(**machine(place, client_secret="canary-secret")))


async def test_a_token_url_is_used_without_discovery(tmp_path: Path, monkeypatch: Patch) -> None:
    """The operator's endpoints: no server is asked for metadata."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        place.add_client("robot", "canary-secret")
        token_url = f"{place.origin}/token"
        options = {"grant": "client", "client_id": "robot", "client_secret": "canary-secret", "token_url": token_url}
        assert "result" in await here.call(here.start(**options))
        assert place.log == ["POST /mcp", "POST /token", "POST /mcp"]


async def test_given_endpoints_are_used_with_pkce(tmp_path: Path, monkeypatch: Patch) -> None:
    """`as mcp-connect auth-proxy`: --auth-url, --token-url and --redirect-url."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        place.add_client("mine", "canary-secret")
        options = {
            "client_id": "mine", "client_secret": "canary-secret", "authorization_url": f"{place.origin}/authorize",
            "token_url": f"{place.origin}/token", "redirect_uri": "http://localhost:38471/callback", "scope": "a",
        }  # fmt: skip
        assert "result" in await here.call(here.start(**options))
        assert place.log == ["POST /mcp", "GET /authorize", "POST /token", "POST /mcp"]
        (asked,) = place.authorizations
        assert asked["redirect_uri"] == "http://localhost:38471/callback" and asked["code_challenge_method"] == "S256"


async def test_a_missing_scope_is_requested_for_a_client_too(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-22: once; what was asked for already is an error at once."""
    async with authority(challenge_scope="a", needed_scope="a b") as place, house(place, tmp_path, monkeypatch) as here:
        place.add_client("robot", "canary-secret")
        credentials = here.start(**machine(place, client_secret="canary-secret"))
        assert "result" in await here.call(credentials)
        assert [form["scope"] for form in place.grants_of("client_credentials")] == ["a", "a b"]


@pytest.mark.parametrize(("kind", "algorithm"), [("ec", "ES256"), ("rsa", "RS256"), ("jwk", "ES384")])
async def test_an_assertion_stands_for_a_secret(tmp_path: Path, monkeypatch: Patch, kind: str, algorithm: str) -> None:
    """RFC 7523: joserfc checks it; iss = sub = client id, aud = issuer, short, fresh, with kid; no client id beside."""
    key: jwk.ECKey | jwk.RSAKey = jwk.RSAKey.generate_key(2048) if kind == "rsa" else jwk.ECKey.generate_key("P-256")
    text = key.as_pem(private=True).decode()
    if kind == "jwk":
        key = jwk.ECKey.generate_key("P-384", {"kid": "k1"})
        text = json.dumps(key.as_dict(private=True))
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        seen: list[str] = []

        async def check(request: web.Request) -> web.Response:
            form = {name: str(value) for name, value in (await request.post()).items()}
            assert "client_id" not in form and "client_secret" not in form
            token = jwt.decode(form["client_assertion"], key, algorithms=[algorithm])
            claims = token.claims
            assert claims["iss"] == claims["sub"] == "robot" and claims["aud"] == place.origin
            assert 0 < claims["exp"] - claims["iat"] <= 300
            assert token.header.get("kid") == ("k1" if kind == "jwk" else None)
            seen.append(claims["jti"])
            place.tokens[f"made-{len(seen)}"] = Grant("robot", "", "")
            return place._json({"access_token": f"made-{len(seen)}", "token_type": "Bearer"})

        place.replies["POST /token"] = check
        credentials = here.start(**machine(place, client_assertion_key=text))
        assert "result" in await here.call(credentials)
        place.expire()
        assert "result" in await here.call(credentials)
        assert len(set(seen)) == 2, "each has an id of its own"


def test_what_is_no_private_key_is_refused() -> None:
    """O-15: the error names the option."""
    public = jwk.ECKey.generate_key("P-256").as_pem(private=False).decode()
    for text in ("", "nonsense", public, "{}", '{"kty":"EC"'):
        with pytest.raises(ConfigError, match="--client-assertion-key"):
            read_key(text)
