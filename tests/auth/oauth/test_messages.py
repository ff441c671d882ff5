"""Registrations, authorization requests and responses, scopes, and token requests and answers."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.auth.outbound.oauth.authorization import (
    AuthorizationRefused,
    ResponseIgnored,
    authorization_url,
    challenge_of,
    code_in_response,
    new_state,
    new_verifier,
    stable_port,
)
from relay.auth.outbound.oauth.discovery import ServerMetadata
from relay.auth.outbound.oauth.options import OAuthOptions, check_options
from relay.auth.outbound.oauth.records import Client, OpenWindow
from relay.auth.outbound.oauth.registration import (
    RegistrationRefused,
    known_client,
    read_registration,
    registration_request,
)
from relay.auth.outbound.oauth.scopes import first_scope, missing_from, stepped_up, with_offline
from relay.auth.outbound.oauth.tokens import (
    TokenDenied,
    authenticated,
    code_form,
    new_tokens,
    read_answer,
    refresh_form,
    refreshed,
)
from relay.errors import ConfigError

REDIRECT = "http://127.0.0.1:4000/oauth/callback"
METADATA = ServerMetadata(issuer="https://as.example", token_endpoint="https://as.example/token")
WINDOW = OpenWindow(
    url="https://mcp.example/mcp", profile="", issuer="https://as.example", resource="https://mcp.example/MCP/",
    client=Client(client_id="c"), token_endpoint="https://as.example/token", scope="a b", created=0.0, shown_url="",
    redirect_uri=REDIRECT, state="the-state", verifier="the-verifier",
)  # fmt: skip


# Options.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"client_secret": "s"}, "--client-id"),
        ({"client_id": "c", "client_secret": "s"}, "--oauth-issuer"),
        ({"client_id": "c", "client_secret": "s", "client_assertion_key": "k", "issuer": "https://a"}, "not both"),
        ({"grant": "client", "client_id": "c"}, "client credentials need"),
        ({"authorization_url": "https://a"}, "only together"),
        ({"authorization_url": "https://a", "token_url": "https://b"}, "--client-id"),
        ({"token_store": "disk"}, "--token-store"),
        ({"scope": 'a "b"'}, "--scope"),
        ({"authorize_params": (("state", "x"),)}, "--authorize-param"),
        ({"authorize_params": (("resource", "x"),)}, "--authorize-param"),
        ({"callback_port": 0}, "--callback-port"),
        ({"issuer": "http://as.example"}, "--oauth-issuer"),
        ({"token_url": "ftp://x", "grant": "client", "client_id": "c", "client_secret": "s"}, "--token-url"),
        ({"client_metadata_url": "https://x"}, "--client-metadata-url"),
    ],
)
def test_o15_options_that_cannot_work_are_refused(options: dict[str, Any], words: str) -> None:
    """O-15, O-16, O-24: a secret needs an issuer; the relay's own parameters cannot be set."""
    with pytest.raises(ConfigError, match=words):
        check_options(OAuthOptions(**options))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"client_id": "c"},
        {"client_id": "c", "client_secret": "s", "issuer": "https://as.example"},
        {"client_id": "c", "client_secret": "s", "pins_first_issuer": True},
        {"grant": "client", "client_id": "c", "client_secret": "s", "token_url": "https://as.example/t"},
        {"client_id": "c", "authorization_url": "https://as.example/a", "token_url": "https://as.example/t"},
        {"authorize_params": (("prompt", "login"),), "scope": "a b", "callback_port": 65535},
    ],
)
def test_o15_options_that_work(options: dict[str, Any]) -> None:
    """O-15."""
    check_options(OAuthOptions(**options))
    assert "s" not in repr(OAuthOptions(**options)).replace("OAuthOptions", "")


# Registration.


@pytest.mark.parametrize(
    ("supported", "method"),
    [
        (None, "none"), (("none", "client_secret_post"), "none"), (("client_secret_post",), "client_secret_post"),
        (("client_secret_post", "client_secret_basic"), "client_secret_basic"), (("tls_client_auth",), "none"),
    ],
)  # fmt: skip
def test_o17_what_a_registration_says(supported: tuple[str, ...] | None, method: str) -> None:
    """O-17: native, both grants, and neither scope nor resource; extra fields cannot change the redirect URI."""
    metadata = msgspec.structs.replace(METADATA, token_endpoint_auth_methods_supported=supported)
    extra = {"client_name": "mine", "redirect_uris": ["https://evil.example"], "scope": "x", "logo_uri": "https://l"}
    document = registration_request(metadata, REDIRECT, version="1", extra=extra)
    assert document["application_type"] == "native" and document["token_endpoint_auth_method"] == method
    assert document["redirect_uris"] == [REDIRECT] and document["grant_types"] == [
        "authorization_code",
        "refresh_token",
    ]
    assert not {"scope", "resource"} & set(document)
    assert document["client_name"] == "mine" and document["logo_uri"] == "https://l"


@pytest.mark.parametrize(
    ("answer", "secret", "method"),
    [
        ({"client_id": "c"}, None, "none"),
        ({"client_id": "c", "client_secret": "s"}, "s", "client_secret_basic"),
        (
            {"client_id": "c", "client_secret": "s", "token_endpoint_auth_method": "client_secret_post"},
            "s", "client_secret_post",
        ),
        ({"client_id": "c", "client_secret": "s", "token_endpoint_auth_method": "none"}, "s", "client_secret_basic"),
        ({"client_id": "c", "token_endpoint_auth_method": "client_secret_basic"}, None, "none"),
        ({"client_id": "c", "client_secret": "", "client_secret_expires_at": "7"}, None, "none"),
    ],
)  # fmt: skip
def test_o17_what_a_registration_answers(answer: dict[str, Any], secret: str | None, method: str) -> None:
    """O-17: 200 and 201."""
    for status in (200, 201):
        found = read_registration(status, json.dumps(answer).encode(), METADATA, REDIRECT)
        assert (found.client_secret, found.auth_method) == (secret, method)


@pytest.mark.parametrize(
    ("status", "body", "words", "is_about_redirect"),
    [
        (400, b'{"error":"invalid_redirect_uri"}', "HTTP 400: invalid_redirect_uri", True),
        (400, b'{"error":"x","error_description":"bad Redirect\\n\\u001b[31m"}', "x: bad Redirect", True),
        (403, b"<html>", "HTTP 403", False),
        (201, b"{}", "no client_id", False),
        (201, b'{"client_id":""}', "no client_id", False),
    ],
)
def test_o17_a_refused_registration_shows_the_servers_words(
    status: int, body: bytes, words: str, is_about_redirect: bool
) -> None:
    """O-17: without control characters."""
    with pytest.raises(RegistrationRefused) as caught:
        read_registration(status, body, METADATA, REDIRECT)
    assert words in str(caught.value) and str(caught.value).isprintable()
    assert caught.value.is_about_redirect is is_about_redirect


def test_o15_the_configured_client_comes_before_the_document() -> None:
    """O-15, O-16: pre-registered, then the document where servers accept it, then a registration."""
    accepting = msgspec.structs.replace(METADATA, client_id_metadata_document_supported=True)
    document = OAuthOptions(client_metadata_url="https://relay.example/c.json")
    both = msgspec.structs.replace(document, client_id="c", client_secret="s")
    found = known_client(both, accepting, REDIRECT)
    assert found is not None and (found.client_id, found.auth_method) == ("c", "client_secret_basic")
    assert found.client_secret is None, "a configured secret is not kept"
    found = known_client(document, accepting, REDIRECT)
    assert found is not None and found.client_id == "https://relay.example/c.json"
    assert known_client(document, METADATA, REDIRECT) is None


# Scopes.


@pytest.mark.parametrize(
    ("configured", "challenged", "supported", "expected"),
    [
        (None, None, (), None), (None, None, ("a", "b"), "a b"), (None, "c", ("a", "b"), "c"), ("d", "c", ("a",), "d"),
        (None, "", ("a",), "a"), ("", "c", ("a",), None), (None, "c  c d", (), "c d"), (None, 'c "', (), "c"),
    ],
)  # fmt: skip
def test_o20_first_scope(
    configured: str | None, challenged: str | None, supported: tuple[str, ...], expected: str | None
) -> None:
    """O-20: the operator's, the challenge's, the server's, or none at all."""
    assert first_scope(configured=configured, challenged=challenged, supported=supported) == expected


def test_o21_offline_access_only_where_the_server_has_it() -> None:
    """O-21."""
    assert with_offline("a", ("a",)) == "a" and with_offline(None, ()) is None
    assert (
        with_offline("a", ("offline_access",))
        == "a offline_access"
        == with_offline("a offline_access", ("offline_access",))
    )


_SCOPES = st.lists(st.text("abc:/.", min_size=1, max_size=3), max_size=5).map(" ".join)


@given(_SCOPES, _SCOPES)
def test_o22_a_step_up_is_a_union(requested: str, challenged: str) -> None:
    """O-22: nothing is lost, nothing is asked twice, and afterwards nothing is missing."""
    union = stepped_up(requested, challenged)
    assert set((union or "").split()) == {*requested.split(), *challenged.split()}
    assert missing_from(union, challenged) == ()
    assert set(missing_from(requested, challenged)) == set(challenged.split()) - set(requested.split())


# Authorization.


def test_o23_states_and_verifiers_are_long_and_fresh() -> None:
    """O-23: RFC 7636, appendix B, is the oracle of the challenge."""
    assert len({new_state() for _ in range(50)}) == 50 and len(new_state()) >= 43
    assert 43 <= len(new_verifier()) <= 128 and new_verifier() != new_verifier()
    assert challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_o24_what_an_authorization_request_says() -> None:
    """O-24: the resource byte for byte; the endpoint's own query stays; extra parameters replace nothing but prompt."""
    url = authorization_url(
        "https://as.example/authorize?tenant=a%20b&prompt=none",
        client_id="c",
        redirect_uri=REDIRECT,
        state="s",
        verifier="v",
        resource="https://MCP.example/mcp/",
        scope="a b",
        asks_consent=True,
        extra=(("audience", "x"), ("state", "evil"), ("prompt", "login")),
    )
    query = parse_qs(urlsplit(url).query)
    assert query == {
        "tenant": ["a b"], "response_type": ["code"], "client_id": ["c"], "redirect_uri": [REDIRECT],
        "code_challenge": [challenge_of("v")], "code_challenge_method": ["S256"], "state": ["s"],
        "resource": ["https://MCP.example/mcp/"], "scope": ["a b"], "prompt": ["login"], "audience": ["x"],
    }  # fmt: skip
    bare = authorization_url(
        "https://as.example/a", client_id="c", redirect_uri=REDIRECT, state="s", verifier="v", resource=None, scope=None
    )
    assert not {"resource", "scope", "prompt"} & set(parse_qs(urlsplit(bare).query))


@given(st.text(max_size=30), st.text(max_size=8), st.integers(0, 7))
def test_o25_a_server_has_a_port_of_its_own(url: str, profile: str, attempt: int) -> None:
    """O-25: the same one each time, below the range that systems hand out."""
    port = stable_port(url, profile, attempt)
    assert 3335 <= port <= 32767 and port == stable_port(url, profile, attempt)


@pytest.mark.parametrize(
    "query",
    [
        "", "code=x", "state=the-state", "state=&code=x", "state=other&code=x",
        "state=the-state&state=the-state&code=x",
        "state=the-state&code=x&code=x", "state=the-state&code=", "state=the-state&code=x&iss=a&iss=b",
        "state=the-state&error=a&error=b", "state=the-state%ff&code=x",
        "&".join(["a=b"] * 60) + "&state=the-state&code=x",
        "State=the-state&code=x", "state=other&error=access_denied",
    ],
)  # fmt: skip
def test_o26_what_is_not_the_response_is_ignored(query: str) -> None:
    """O-26, O-29: a stranger cannot end the login."""
    with pytest.raises(ResponseIgnored):
        code_in_response(query, WINDOW)


@pytest.mark.parametrize(
    ("iss", "is_required", "is_good"),
    [
        ("https://as.example", True, True), (None, True, False), ("https://as.example/", True, False),
        ("https://as.example", False, True), (None, False, True), ("https://AS.example", False, False),
        ("", False, False),
    ],
)  # fmt: skip
def test_o28_the_issuer_of_a_response(iss: str | None, is_required: bool, is_good: bool) -> None:
    """O-28: RFC 9207's table, and errors of another issuer are not shown."""
    window = msgspec.structs.replace(WINDOW, is_iss_required=is_required)
    params = {"state": "the-state", **({} if iss is None else {"iss": iss})}
    failing = urlencode({**params, "error": "canary", "error_description": "<b>\n"})
    with pytest.raises(AuthorizationRefused) as caught:
        code_in_response(failing, window)
    assert ("canary" in str(caught.value)) is is_good and str(caught.value).isprintable()
    good = urlencode({**params, "code": "x y"})
    if is_good:
        assert code_in_response(good, window) == "x y"
        return
    with pytest.raises(AuthorizationRefused):
        code_in_response(good, window)


@given(st.dictionaries(st.sampled_from(["state", "code", "iss", "error", "x"]), st.text(max_size=12)))
def test_o28_only_the_right_state_gives_a_code(params: dict[str, str]) -> None:
    """O-26, O-28: whatever comes."""
    try:
        code = code_in_response(urlencode(params), WINDOW)
    except (ResponseIgnored, AuthorizationRefused):
        return
    assert (
        params["state"] == "the-state" and code == params["code"] and params.get("iss", WINDOW.issuer) == WINDOW.issuer
    )


# Tokens.


def test_o30_a_code_is_exchanged_with_verifier_and_resource() -> None:
    """O-24, O-30, O-35: the same resource in all three requests."""
    form = code_form(WINDOW, "x")
    assert form == {
        "grant_type": "authorization_code", "code": "x", "redirect_uri": REDIRECT, "code_verifier": "the-verifier",
        "resource": "https://mcp.example/MCP/",
    }  # fmt: skip
    tokens = new_tokens(
        WINDOW, read_answer(200, b'{"access_token":"t","token_type":"bearer","refresh_token":"r"}'), 5.0
    )
    assert refresh_form(tokens) == {"grant_type": "refresh_token", "refresh_token": "r", "resource": form["resource"]}
    without = msgspec.structs.replace(WINDOW, sends_resource=False)
    assert "resource" not in code_form(without, "x")


@pytest.mark.parametrize("method", ["none", "client_secret_basic", "client_secret_post", "private_key_jwt"])
def test_o30_how_the_relay_shows_who_it_is(method: str) -> None:
    """O-30: Basic encodes both parts first; an assertion stands for the client id."""
    client = Client(client_id="a:b ü", client_secret="s&%", auth_method=method)
    headers, body = authenticated({"grant_type": "x"}, client, assertion="jwt")
    form = dict(parse_qsl(body.decode()))
    assert form.pop("grant_type") == "x" and headers["Accept"] == "application/json"
    if method == "client_secret_basic":
        assert b64decode(headers["Authorization"].removeprefix("Basic ")) == b"a%3Ab+%C3%BC:s%26%25" and not form
        return
    assert "Authorization" not in headers
    assert form == {
        "none": {"client_id": "a:b ü"},
        "client_secret_post": {"client_id": "a:b ü", "client_secret": "s&%"},
        "private_key_jwt": {
            "client_assertion": "jwt", "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        },
    }[method]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "error", "is_temporary"),
    [
        (400, b'{"error":"invalid_grant","error_description":"the code canary-secret is old"}', "invalid_grant", False),
        (401, b'{"error":"invalid_client"}', "invalid_client", False),
        (400, b'{"error":"x","error_description":"a\\u001b[31m b"}', "x", False), (401, b"", "", False),
        (503, b"<html>", "", True), (429, b"", "", True), (500, b'{"error":"server_error"}', "server_error", True),
        (403, b"<html>", "", True), (307, b"", "", True), (200, b"not json", "", True), (400, b"<html>", "", False),
        (200, b'{"access_token":"t","token_type":"mac"}', "", False), (200, b'{"access_token":""}', "", False),
        (200, b'{"access_token":"a\\nb","token_type":"Bearer"}', "", False),
        (200, b'{"token_type":"Bearer"}', "", False),
        (200, b'{"error":"access_denied"}', "access_denied", False),
    ],
)  # fmt: skip
def test_o30_answers_without_a_token(status: int, body: bytes, error: str, is_temporary: bool) -> None:
    """O-30, O-34: what is wrong, and whether to try again; no secret in the words."""
    with pytest.raises(TokenDenied) as caught:
        read_answer(status, body, secrets=("canary-secret",))
    assert (caught.value.error, caught.value.is_temporary) == (error, is_temporary)
    assert "canary-secret" not in str(caught.value) and str(caught.value).isprintable()
    assert caught.value.is_client_unknown is (status == 401)


@pytest.mark.parametrize(
    ("expires_in", "until"),
    [
        (None, None), (0, 101.0), (-5, None), ("3600", 3640.0), (3600, 3640.0), (30, 127.0), (1, 101.0), ("soon", None),
        (1e30, None), ("inf", None),
    ],
)  # fmt: skip
def test_o32_when_a_token_is_refreshed(expires_in: object, until: float | None) -> None:
    """O-30, O-32: 60 s or a tenth before its end; an unknown end is left to the server."""
    answer = {"access_token": "t", "token_type": "Bearer", "expires_in": expires_in}
    tokens = new_tokens(WINDOW, read_answer(200, json.dumps(answer).encode()), 100.0)
    assert tokens.use_until == (float("inf") if until is None else until)
    assert not tokens.is_refreshable and "t" not in repr(tokens).lower().replace("tokens", "")


def test_o34_a_missing_refresh_token_is_the_old_one() -> None:
    """O-30, O-34: and a missing scope is the requested one."""
    first = read_answer(200, b'{"access_token":"t","token_type":"bearer","refresh_token":"r","scope":"a"}')
    tokens = new_tokens(WINDOW, first, 0.0)
    assert tokens.scope == "a" and tokens.requested_scope == "a b" and tokens.is_refreshable
    second = refreshed(tokens, read_answer(200, b'{"access_token":"u","token_type":"bearer"}'), 1.0)
    assert (second.access_token, second.refresh_token, second.scope, second.is_refreshed) == ("u", "r", "a", True)
    assert second.key == tokens.key, "a refresh moves nothing"
