"""Values that may hold secrets do not show them."""

from __future__ import annotations

import pytest
from yarl import URL

from relay.auth.outbound.logins import ClientCredentials, DigestLogin
from relay.auth.outbound.oauth.tokens import TokenAnswer
from relay.endpoints.http.client.proxy import Proxy
from relay.values import PrivateValue

SECRET = "canary"


@pytest.mark.parametrize(
    "value",
    [
        DigestLogin("user", SECRET),
        ClientCredentials("client", SECRET, f"https://h/{SECRET}"),
        TokenAnswer(SECRET, refresh_token=SECRET),
        Proxy(URL("http://h/"), f"Basic {SECRET}"),
    ],
)
def test_text_shows_no_secret(value: PrivateValue) -> None:
    """Neither in a log nor in a traceback; the name of the class says what it is."""
    assert SECRET not in f"{value} {value!r}"
    assert type(value).__name__ in repr(value)
