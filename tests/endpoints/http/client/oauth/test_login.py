"""Logging in by a browser: what reaches which server, and what a person, a stranger and a broken server cause."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from aiohttp import web

from relay.endpoints.http.client.oauth import login
from tests.endpoints.http.client.oauth.authority import authority
from tests.endpoints.http.client.oauth.house import House, house

pytestmark = pytest.mark.only_loop("uvloop")
DISCOVERY = ["GET /.well-known/oauth-protected-resource/mcp", "GET /.well-known/oauth-authorization-server"]
Patch = pytest.MonkeyPatch


def callback_of(here: House) -> str:
    """The redirect URI of the last window."""
    return parse_qs(urlsplit(here.browser.opened[-1]).query)["redirect_uri"][0]


def state_of(here: House) -> str:
    return parse_qs(urlsplit(here.browser.opened[-1]).query)["state"][0]


async def until_opened(here: House, number: int = 1) -> None:
    while len(here.browser.opened) < number:
        await asyncio.sleep(0.005)


@pytest.mark.only_loop("asyncio", "uvloop")
async def test_a_first_401_leads_to_one_window_and_the_call_is_answered(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-01, O-24, O-30, O-35: nothing before the 401; then one window, one token, the answer; later only the call."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        credentials = here.start()
        assert credentials.current() == {}
        assert "result" in await here.call(credentials)
        assert place.log == ["POST /mcp", *DISCOVERY, "POST /register", "GET /authorize", "POST /token", "POST /mcp"]
        (asked,) = place.authorizations
        assert asked["resource"] == place.url == place.forms[0]["resource"]
        assert asked["code_challenge_method"] == "S256" and asked["response_type"] == "code"
        assert "scope" not in asked, "O-20: nobody has named a scope"
        assert "result" in await here.call(here.start())
        assert place.log[7:] == ["POST /mcp"], "a cold start needs no window"


async def test_calls_that_wait_for_one_login_share_one_window(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-33, O-36: 50 calls at once, of one relay that has no login."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        credentials = here.start()
        answers = await asyncio.gather(*(here.call(credentials) for _ in range(50)))
        assert all("result" in answer for answer in answers)
        assert len(here.browser.opened) == 1 and len(place.forms) == 1


@pytest.mark.parametrize("name", ["WWW-Authenticate", "x-amzn-remapped-www-authenticate"])
async def test_a_renamed_challenge_is_read(tmp_path: Path, monkeypatch: Patch, name: str) -> None:
    """O-02, O-04: as AWS API Gateway renames it."""
    async with (
        authority(challenge_name=name, challenge_scope="b a") as place,
        house(place, tmp_path, monkeypatch) as here,
    ):
        assert "result" in await here.call(here.start())
        assert place.authorizations[0]["scope"] == "b a"


@pytest.mark.parametrize("challenge", [None, 'Basic realm="x"', "Bearer"])
async def test_without_a_usable_challenge_the_well_known_addresses_are_asked(
    tmp_path: Path, monkeypatch: Patch, challenge: str | None
) -> None:
    """O-04: a 401 without WWW-Authenticate."""
    async with authority(challenge=challenge) as place, house(place, tmp_path, monkeypatch) as here:
        assert "result" in await here.call(here.start())
        assert place.log[1:3] == DISCOVERY


async def test_the_root_is_asked_after_the_path(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-04, O-07: and a resource of the whole origin covers the server; it is sent byte for byte."""
    async with authority(challenge=None, resource="{origin}/") as place, house(place, tmp_path, monkeypatch) as here:

        async def missing(request: web.Request) -> web.Response:
            return web.Response(status=404)

        async def at_root(request: web.Request) -> web.Response:
            return place._json(place._resource_metadata())

        place.replies = {DISCOVERY[0]: missing, "GET /.well-known/oauth-protected-resource": at_root}
        assert "result" in await here.call(here.start())
        assert place.log[1:3] == [DISCOVERY[0], "GET /.well-known/oauth-protected-resource"]
        assert place.authorizations[0]["resource"] == place.forms[0]["resource"] == f"{place.origin}/"


@pytest.mark.parametrize("resource", ["{origin}/mcp2", "https://example.com/mcp", "{origin}/mcp/more"])
async def test_a_foreign_resource_is_refused_before_its_authorization_server_is_asked(
    tmp_path: Path, monkeypatch: Patch, resource: str
) -> None:
    """O-06."""
    async with authority(resource=resource) as place, house(place, tmp_path, monkeypatch) as here:
        answer = await here.call(here.start())
        assert "its resource is" in answer["error"] and place.log == ["POST /mcp", DISCOVERY[0]]


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"metadata": {"issuer": "{origin}/"}}, "its issuer is"),
        ({"metadata": {"code_challenge_methods_supported": None}}, "--oauth-assume-pkce"),
        ({"metadata": {"code_challenge_methods_supported": ["plain"]}}, "only plain"),
        ({"metadata": {"token_endpoint": "http://example.com/token"}}, "--oauth-allow-http"),
        ({"metadata": {"authorization_endpoint": "javascript:alert(1)"}}, "authorization_endpoint"),
        ({"metadata": {"registration_endpoint": None}}, "--client-id"),
        ({"named_issuers": ["file:///etc/passwd"]}, "not a URL of the form"),
    ],
)
async def test_metadata_that_cannot_be_trusted_opens_no_window(
    tmp_path: Path, monkeypatch: Patch, knobs: dict[str, object], words: str
) -> None:
    """O-10, O-11, O-12, O-13: the error says what is wrong and what to do; nothing is registered or opened."""
    async with authority(**knobs) as place, house(place, tmp_path, monkeypatch) as here:
        answer = await here.call(here.start())
        assert words in answer["error"]
        assert not here.browser.opened and not place.registrations


async def test_a_server_without_s256_is_used_if_the_operator_says_so(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-13: Entra ID and Cognito leave the field out."""
    metadata = {"code_challenge_methods_supported": None}
    async with authority(metadata=metadata) as place, house(place, tmp_path, monkeypatch) as here:
        assert "result" in await here.call(here.start(assume_pkce=True))
        assert place.authorizations[0]["code_challenge_method"] == "S256"


async def test_no_redirect_is_followed(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-14: not for metadata, and not for a token request, which has a code and a verifier in it."""
    async with authority() as place, authority() as other, house(place, tmp_path, monkeypatch) as here:

        async def moved(request: web.Request) -> web.Response:
            return web.Response(status=307, headers={"Location": f"{other.origin}{request.path}"})

        place.replies["POST /token"] = moved
        assert "HTTP 307" in (await here.call(here.start()))["error"]
        place.replies[DISCOVERY[1]] = moved
        assert "has no metadata" in (await here.call(here.start(profile="second")))["error"]
        assert other.log == []


async def test_an_endless_document_is_not_read_to_its_end(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-05, O-14: at most 64 KiB."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        place.resource_metadata["more"] = "x" * 70_000
        assert "longer than 65536 bytes" in (await here.call(here.start()))["error"]


async def test_a_configured_client_is_for_its_issuer_only(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-08, O-15: if the server names another authorization server, that one gets nothing."""
    async with authority() as place, authority() as other, house(place, tmp_path, monkeypatch) as here:
        other.add_client("mine", "canary-secret")
        place.named_issuers = [other.origin]
        options = {"client_id": "mine", "client_secret": "canary-secret", "issuer": place.origin}
        answer = await here.call(here.start(**options))
        assert "belong to that one" in answer["error"] and other.log == [] and "canary-secret" not in answer["error"]
        place.named_issuers = [other.origin, place.origin]
        place.add_client("mine", "canary-secret")
        assert "result" in await here.call(here.start(**options))
        assert other.log == [] and not place.registrations, "O-08: the operator's, not the first"


async def test_the_first_issuer_can_be_pinned(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-15: for a command line that takes a secret and no issuer."""
    async with authority() as place, authority() as other, house(place, tmp_path, monkeypatch) as here:
        place.add_client("mine", "canary-secret")
        options = {"client_id": "mine", "client_secret": "canary-secret", "pins_first_issuer": True}
        credentials = here.start(**options)
        assert "result" in await here.call(credentials)
        place.named_issuers = [other.origin]
        place.expire()
        place.refresh_tokens.clear()
        assert "belong to that one" in (await here.call(credentials))["error"]
        assert other.log == []


async def test_a_metadata_document_is_the_client_where_servers_accept_it(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-16."""
    document = "https://relay.example/client.json"
    metadata = {"client_id_metadata_document_supported": True}
    async with authority(metadata=metadata) as place, house(place, tmp_path, monkeypatch) as here:
        place.add_client(document, method="none")
        assert "result" in await here.call(here.start(client_metadata_url=document))
        assert not place.registrations and place.authorizations[0]["client_id"] == document
        place.metadata = {}
        assert "result" in await here.call(here.start(client_metadata_url=document, profile="second"))
        assert len(place.registrations) == 1


async def test_a_new_authorization_server_gets_a_new_registration(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-18: and nothing of the old one."""
    async with authority() as place, authority() as other, house(place, tmp_path, monkeypatch) as here:
        credentials = here.start()
        assert "result" in await here.call(credentials)
        place.named_issuers = [other.origin]
        place.expire()
        place.refresh_tokens.clear()
        place.tokens = other.tokens
        assert "result" in await here.call(credentials)
        assert len(other.registrations) == 1
        seen = str(other.headers) + str(other.authorizations) + str(other.forms)
        assert not any(client in seen for client in place.clients)


async def test_a_forgotten_registration_is_made_anew_once(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-19."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        assert "result" in await here.call(here.start())
        place.expire()
        place.clients.clear()
        place.refresh_tokens.clear()
        assert "result" in await here.call(here.start())
        assert len(place.registrations) == 2 and place.refused == {"invalid_client": 1}


async def test_a_refused_redirect_uri_is_tried_with_the_other_name(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-17: once; then the server's words are the error."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:

        async def only_localhost(request: web.Request) -> web.Response | None:
            if "localhost" in await request.text():
                return None
            return place._json({"error": "invalid_redirect_uri", "error_description": "no numbers"}, 400)

        place.replies["POST /register"] = only_localhost
        assert "result" in await here.call(here.start())
        assert callback_of(here).startswith("http://localhost:")

        async def nothing(request: web.Request) -> web.Response:
            return place._json({"error": "invalid_redirect_uri", "error_description": "no\nway"}, 400)

        place.replies["POST /register"] = nothing
        answer = await here.call(here.start(profile="second"))
        assert "invalid_redirect_uri: no way" in answer["error"]


# The scope.


async def test_a_missing_scope_leads_to_one_more_request_for_both(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-20, O-22: the union of what was requested and what is wanted."""
    async with authority(challenge_scope="read") as place, house(place, tmp_path, monkeypatch) as here:
        credentials = here.start()
        assert "result" in await here.call(credentials)
        place.needed_scope = "write"
        assert "result" in await here.call(credentials, method="tools/call")
        assert [one["scope"] for one in place.authorizations] == ["read", "read write"]


async def test_calls_that_miss_a_scope_share_one_request(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-22, O-33: 20 calls at once, one window; a call that was refused before that has the new token, too."""
    async with authority(challenge_scope="read") as place, house(place, tmp_path, monkeypatch) as here:
        credentials = here.start()
        await here.call(credentials)
        place.needed_scope = "write"
        answers = await asyncio.gather(*(here.call(credentials, method="tools/call") for _ in range(20)))
        assert all("result" in answer for answer in answers)
        assert [one["scope"] for one in place.authorizations] == ["read", "read write"]


async def test_a_scope_that_was_requested_is_not_requested_again(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-22: the server would refuse for ever."""
    async with authority(challenge_scope="admin") as place, house(place, tmp_path, monkeypatch) as here:
        credentials = here.start()

        async def never(request: web.Request) -> web.Response | None:
            if "Authorization" not in request.headers:
                return None
            value = 'Bearer error="insufficient_scope", scope="admin"'
            return web.Response(status=403, headers={"WWW-Authenticate": value})

        place.replies["POST /mcp"] = never
        for _ in range(3):
            assert "asked already" in (await here.call(credentials))["error"]
        assert len(place.authorizations) == 1


async def test_ever_more_scopes_end_after_three_requests(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-22: at most 3 authorization requests in all for one operation."""
    async with authority(challenge_scope="s0") as place, house(place, tmp_path, monkeypatch) as here:
        credentials = here.start()

        async def more(request: web.Request) -> web.Response | None:
            if "Authorization" not in request.headers:
                return None
            value = f'Bearer error="insufficient_scope", scope="s{len(place.authorizations)}"'
            return web.Response(status=403, headers={"WWW-Authenticate": value})

        place.replies["POST /mcp"] = more
        for _ in range(3):
            assert "result" not in await here.call(credentials)
        assert len(place.authorizations) == 3


async def test_offline_access_is_requested_with_consent_at_an_openid_server(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-21: and only if the server has it; --authorize-param may choose another prompt."""
    metadata = {"scopes_supported": ["openid", "offline_access"], "userinfo_endpoint": "{origin}/me"}
    async with authority(metadata=metadata, challenge_scope="a") as place, house(place, tmp_path, monkeypatch) as here:
        assert "result" in await here.call(here.start())
        assert "result" in await here.call(here.start(profile="b", authorize_params=(("prompt", "login"),)))
        assert [(one["scope"], one["prompt"]) for one in place.authorizations] == [
            ("a offline_access", "consent"),
            ("a offline_access", "login"),
        ]


# The callback.


async def test_a_response_that_is_not_ours_gets_400_and_the_login_goes_on(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-26, O-29: a wrong, missing or repeated state, a repeated code, another host, path and method; no reflection."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        here.browser.is_away = True
        call = asyncio.ensure_future(here.call(here.start()))  # noqa: TID251  # awaited below
        await until_opened(here)
        callback, state = callback_of(here), state_of(here)
        host = urlsplit(callback).netloc
        async with aiohttp.ClientSession() as session:
            for query in (
                "state=wrong&code=x", "code=x", f"state={state}", f"state={state}&state={state}&code=x", "",
                f"state={state}&code=x&code=y", f"state={state}&code=x&iss=a&iss=b", "state=<script>&code=x", "%ff=%fe",
            ):  # fmt: skip
                async with session.get(f"{callback}?{query}") as response:
                    assert response.status == 400 and "script" not in await response.text()
                    assert response.headers["Cache-Control"] == "no-store"
                    assert response.headers["Content-Security-Policy"] == "default-src 'none'"
                    assert response.headers["Referrer-Policy"] == "no-referrer"
            good = f"{callback}?state={state}&code=x"
            async with session.get(good, headers={"Host": "evil.example"}) as response:
                assert response.status == 404
            async with session.post(good) as response:
                assert response.status == 404
            async with session.get(f"http://{host}/other?state={state}&code=x") as response:
                assert response.status == 404
            async with session.get(f"{callback}?{'x' * 9000}") as response:
                assert response.status == 400
        assert place.forms == [] and not call.done()
        await here.browser.visit(here.browser.opened[0])
        assert "result" in await call


async def test_a_refused_login_is_an_error_and_the_next_call_asks_again(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-28: with the server's words, made safe."""
    async with authority(callback_error="access_denied") as place, house(place, tmp_path, monkeypatch) as here:
        credentials = here.start()
        assert "access_denied" in (await here.call(credentials))["error"]
        await here.browser.close()
        assert here.browser.pages[0][0] == 400 and place.forms == []
        place.callback_error = ""
        assert "result" in await here.call(credentials)


@pytest.mark.parametrize(
    ("supported", "iss", "is_good"),
    [
        (True, "{origin}", True), (True, None, False), (True, "https://evil.example", False),
        (None, "{origin}", True), (None, None, True), (None, "{origin}/", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("error", ["", "canary_error"])
async def test_the_issuer_of_the_response_is_checked(
    tmp_path: Path, monkeypatch: Patch, supported: bool | None, iss: str | None, is_good: bool, error: str
) -> None:
    """O-28 (RFC 9207): before the code goes anywhere, and before an error is shown."""
    metadata = {"authorization_response_iss_parameter_supported": supported}
    extra = {} if iss is None else {"iss": iss}
    knobs = {"metadata": metadata, "callback_extra": extra, "callback_error": error}
    async with authority(**knobs) as place, house(place, tmp_path, monkeypatch) as here:
        answer = await here.call(here.start())
        assert ("result" in answer) is (is_good and not error)
        assert len(place.forms) == (is_good and not error)
        assert ("canary_error" in str(answer)) is (is_good and bool(error))


async def test_a_port_that_moved_is_registered_before_the_window_opens(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-25: the usual port is busy; the redirect URI that is registered has the port that listens."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        with socket.create_server(("127.0.0.1", 0)) as busy:
            usual = busy.getsockname()[1]
            monkeypatch.setattr(login, "stable_port", lambda url, profile, attempt: 0 if attempt else usual)
            assert "result" in await here.call(here.start())
        assert urlsplit(callback_of(here)).port != usual
        assert place.registrations[0]["redirect_uris"] == [callback_of(here)]


async def test_a_pinned_port_that_is_busy_is_an_error(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-25: it does not move; the authorization server knows the relay by it."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        with socket.create_server(("127.0.0.1", 0)) as busy:
            port = busy.getsockname()[1]
            answer = await here.call(here.start(callback_port=port))
            assert f"port {port}" in answer["error"] and "--callback-port" in answer["error"]
            assert not here.browser.opened and not place.registrations
        assert "result" in await here.call(here.start(callback_port=port))
        assert urlsplit(callback_of(here)).port == port


async def test_localhost_listens_on_both_families(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-26: a browser may take either."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        here.browser.is_away = True
        call = asyncio.ensure_future(here.call(here.start(callback_host="localhost")))  # noqa: TID251  # awaited below
        await until_opened(here)
        port = urlsplit(callback_of(here)).port
        async with aiohttp.ClientSession() as session:
            for address in ("127.0.0.1", "[::1]"):
                async with session.get(f"http://{address}:{port}/oauth/callback") as response:
                    assert response.status == 400
        await here.browser.visit(here.browser.opened[0])
        assert "result" in await call


# Time, and people who are away.


async def test_nobody_logs_in(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-36: the error has the address to open, which still works; the next call opens the window again."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        here.browser.is_away = True
        credentials = here.start(auth_timeout=0.2)
        answer = await here.call(credentials)
        while not here.browser.opened:  # a busy machine
            answer = await here.call(credentials)
        assert here.browser.opened[0] in answer["error"]
        while len(here.browser.opened) < 2:
            assert "result" not in await here.call(credentials)
        assert len(set(here.browser.opened)) == 1
        await here.browser.visit(here.browser.opened[0])
        assert "result" in await here.call(credentials)
        assert len(place.forms) == 1


async def test_a_cancelled_call_does_not_close_the_window(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-36: the client gave up after its minute; the person logs in after two."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        here.browser.is_away = True
        credentials = here.start()
        call = asyncio.ensure_future(here.call(credentials))  # noqa: TID251  # cancelled below
        await until_opened(here)
        call.cancel()
        await asyncio.wait((call,))
        await here.browser.visit(here.browser.opened[0])
        assert "result" in await here.call(credentials)
        assert len(here.browser.opened) == 1


async def test_a_relay_that_starts_again_completes_the_open_window(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-23, O-26: the same state, verifier and port; no second window."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        here.browser.is_away = True
        first = here.start()
        call = asyncio.ensure_future(here.call(first))  # noqa: TID251  # cancelled below
        await until_opened(here)
        call.cancel()
        await first.aclose()
        call = asyncio.ensure_future(here.call(here.start()))  # noqa: TID251  # awaited below
        while len(here.told) < 2:
            await asyncio.sleep(0.005)
        await here.browser.visit(here.browser.opened[0])
        assert "result" in await call
        assert len(here.browser.opened) == 1 == len(place.forms)


async def test_the_address_is_shown_and_no_secret_is(
    tmp_path: Path, monkeypatch: Patch, caplog: pytest.LogCaptureFixture
) -> None:
    """O-27, O-45: the log has the address to open, and neither code, verifier nor token."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        caplog.set_level("DEBUG")
        credentials = here.start()
        await here.call(credentials)
        assert any(here.browser.opened[0] in line for line in here.told)
        shown = "\n".join([*here.told, caplog.text, repr(credentials.tokens)])
        assert place.forms[0]["code_verifier"] not in shown
        assert place.forms[0]["code"] not in shown
        assert not any(token in shown for token in (*place.tokens, *place.refresh_tokens))


async def test_a_login_is_for_one_profile(tmp_path: Path, monkeypatch: Patch) -> None:
    """Several accounts at one server."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        first = await here.call(here.start(profile="work"))
        second = await here.call(here.start(profile="home"))
        assert first != second and len(here.browser.opened) == 2
        assert await here.call(here.start(profile="work")) == first


async def test_a_store_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-40: the call gets it, with what to do; nothing is opened that could not be completed."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        (tmp_path / "file").write_text("")
        answer = await here.call(here.start(store_dir=str(tmp_path / "file" / "auth")))
        assert "MCP_RELAY_AUTH_DIR" in answer["error"] and not here.browser.opened
        assert "result" in await here.call(here.start(token_store="memory"))
        assert len(here.browser.opened) == 1 and not here.folder.exists()


# Servers that refuse all.


async def test_a_server_that_always_says_401_sees_few_requests_and_two_windows(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    """O-32: one refresh, one login, an error; never a loop."""
    async with authority(refuses_all=True) as place, house(place, tmp_path, monkeypatch) as here:
        credentials = here.start()
        assert "result" not in await here.call(credentials)
        assert place.count("POST /mcp") <= 6 and len(here.browser.opened) <= 2
        for _ in range(4):
            assert "result" not in await here.call(credentials)
        assert len(here.browser.opened) <= 2


async def test_a_server_that_hides_its_metadata_gets_no_secret(tmp_path: Path, monkeypatch: Patch) -> None:
    """O-09: revision 2025-03-26 asks the server's own origin; a configured secret is for its issuer only."""
    async with authority(challenge=None) as place, authority() as mine, house(place, tmp_path, monkeypatch) as here:

        async def missing(request: web.Request) -> web.Response:
            return web.Response(status=404)

        place.replies[DISCOVERY[0]] = missing
        assert "result" in await here.call(here.start())
        options = {"client_id": "mine", "client_secret": "canary-secret", "issuer": mine.origin, "profile": "second"}
        mine.add_client("mine", "canary-secret")
        await here.call(here.start(**options))
        seen = str(place.forms) + str(place.headers) + str(place.authorizations)
        assert "canary-secret" not in seen and "mine" not in seen
        place.replies[DISCOVERY[1]] = missing
        answer = await here.call(here.start(profile="third"))
        assert "no metadata at" in answer["error"]
        assert "result" in await here.call(here.start(profile="third", legacy=True))
