"""Logins as values: requests to a token endpoint, and what its answers mean."""

from __future__ import annotations

import json
from urllib.parse import parse_qs

import pytest

from relay.auth.outbound.logins import (
    ClientCredentials,
    DigestLogin,
    TokenRefused,
    basic_authorization,
    check_token_url,
    read_token,
    token_request,
)
from relay.errors import ConfigError

CREDENTIALS = ClientCredentials("me/1 ü", "canary+&=", "https://as/token")


def test_basic() -> None:
    """The examples of RFC 7617."""
    assert basic_authorization("Aladdin", "open sesame") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert basic_authorization("test", "123£") == "Basic dGVzdDoxMjPCow=="


def test_the_secret_in_a_header() -> None:
    """Form-encoded first (RFC 6749, 2.3.1); the form has nothing of it."""
    headers, form = token_request(CREDENTIALS, is_secret_in_form=False)
    assert headers["Authorization"] == basic_authorization("me%2F1+%C3%BC", "canary%2B%26%3D")
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert form == b"grant_type=client_credentials"


def test_the_secret_in_the_form() -> None:
    """And nothing of it in a header."""
    headers, form = token_request(CREDENTIALS, is_secret_in_form=True)
    assert "Authorization" not in headers
    assert parse_qs(form.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["me/1 ü"],
        "client_secret": ["canary+&="],
    }


def test_no_value_shows_its_secret() -> None:
    """Not in a traceback, not in a log."""
    token = read_token(200, b'{"access_token": "canary"}')
    assert "canary" not in f"{CREDENTIALS!r} {DigestLogin('me', 'canary')!r} {token!r}"


@pytest.mark.parametrize(
    ("expires_in", "lifetime"),
    [(3600, 3540), (600, 540), (100, 90), ("100", 90), (0, 0), (None, None), (-1, None), ("x", None), ("inf", None)],
)
def test_how_long_a_token_is_used(expires_in: object, lifetime: float | None) -> None:
    """A tenth less than it lives, at most a minute; what is no time means that nobody knows."""
    body = json.dumps({"access_token": "t", "expires_in": expires_in}).encode()
    assert read_token(200, body).lifetime == lifetime


@pytest.mark.parametrize("kind", ["Bearer", "bearer", "BEARER"])
def test_the_type_of_a_token_in_any_case(kind: str) -> None:
    """As RFC 6749 wants it."""
    assert read_token(200, json.dumps({"access_token": "t", "token_type": kind, "more": 1}).encode()).value == "t"


@pytest.mark.parametrize(
    ("status", "body", "said", "is_client_unknown"),
    [
        (400, b'{"error": "invalid_client"}', "HTTP 400: invalid_client", True),
        (401, b"", "HTTP 401", True),
        (
            400,
            b'{"error": "invalid_grant", "error_description": "a\\u001b[31m b"}',
            "HTTP 400: invalid_grant: a [31m b",
            False,
        ),
        (400, b'{"error": "x", "error_description": "so canary it is"}', "HTTP 400: x: so *** it is", False),
        (200, b'{"error": "invalid_scope"}', "HTTP 200: invalid_scope", False),
        (200, b"[]", "the answer is not JSON", False),
        (200, b"\xff", "the answer is not JSON", False),
        (200, b'{"access_token": 1}', "the answer is not JSON", False),
        (200, b'{"access_token": ""}', "the answer has no access_token that could stand in a header", False),
        (200, '{"access_token": "é"}'.encode(), "the answer has no access_token that could stand in a header", False),
        (200, b'{"access_token": "a b"}', "the answer has no access_token that could stand in a header", False),
        (200, b'{"access_token": "t", "token_type": "DPoP"}', "it gives tokens of the type 'DPoP', not Bearer", False),
    ],
)
def test_answers_without_a_token(status: int, body: bytes, said: str, is_client_unknown: bool) -> None:
    """One line, without our secret and without what a terminal would obey."""
    with pytest.raises(TokenRefused) as refused:
        read_token(status, body, secrets=("canary",))
    assert (str(refused.value), refused.value.is_client_unknown) == (said, is_client_unknown)


def test_a_long_description_is_cut() -> None:
    """An error is a line, not a page."""
    with pytest.raises(TokenRefused) as refused:
        read_token(400, json.dumps({"error": "x" * 9999}).encode())
    assert len(str(refused.value)) == len("HTTP 400: ") + 200


@pytest.mark.parametrize(
    "url",
    ["https://as/token", "https://as:8443/a/b?c=d", "http://127.0.0.1:9/t", "http://localhost/t", "http://[::1]/t"],
)
def test_where_a_secret_may_go(url: str) -> None:
    """By https, or not beyond this machine."""
    check_token_url(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://as/token", "would show the client secret on its way; it must begin with https://"),
        ("http://10.0.0.1/token", "it must begin with https://"),
        ("http://localhost.example/token", "it must begin with https://"),
        ("as/token", "is not a URL of the form https://host/path"),
        ("ftp://as/", "is not a URL of the form"),
        ("https:///token", "is not a URL of the form"),
        ("https://me:word@as/token", "is not a URL of the form"),
        ("https://as/token#part", "is not a URL of the form"),
        ("https://as:port/", "is not a URL: "),
        ("https://[::1/", "is not a URL: "),
    ],
)
def test_where_a_secret_may_not_go(url: str, said: str) -> None:
    """The message names the option."""
    with pytest.raises(ConfigError, match=r"^--token-url: ") as refused:
        check_token_url(url)
    assert said in str(refused.value)
