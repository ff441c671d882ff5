"""Logins as values."""

from __future__ import annotations

import pytest

from relay.auth.outbound.logins import (
    ClientCredentials,
    DigestLogin,
    basic_authorization,
    check_token_url,
)
from relay.errors import ConfigError

CREDENTIALS = ClientCredentials("me/1 ü", "canary+&=", "https://as/token")


def test_basic() -> None:
    """The examples of RFC 7617."""
    assert basic_authorization("Aladdin", "open sesame") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert basic_authorization("test", "123£") == "Basic dGVzdDoxMjPCow=="


def test_no_value_shows_its_secret() -> None:
    """Not in a traceback, not in a log."""
    assert "canary" not in f"{CREDENTIALS!r} {DigestLogin('me', 'canary')!r}"


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
