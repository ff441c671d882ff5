"""Tokens about which an authorization server is asked (RFC 7662). Nothing listens here."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from relay.auth.inbound.introspection import IntrospectionClient, IntrospectionLogin
from relay.auth.inbound.verdicts import Challenge, Pending, Principal
from tests.auth.inbound.issuer import EXPECTED, Web, claims, unreachable

URL = "https://as.example/introspect"
CLIENT = IntrospectionClient(URL, "re lay", "canary+")
pytestmark = pytest.mark.only_loop("asyncio")

NOW = 1000.0


def made(answer: object) -> tuple[IntrospectionLogin, Web]:
    web = Web({URL: answer})
    return IntrospectionLogin(web, EXPECTED, CLIENT), web


def active(**changed: Any) -> dict[str, Any]:
    return {"active": True, **claims(**changed)}


async def test_i_08_an_active_token() -> None:
    """Is asked about as RFC 7662 says, and remembered for a minute."""
    login, web = made(active())
    assert login.look("opaque&=é\udcff", NOW) == Pending("opaque&=é\udcff")
    verdict = await login.verify("opaque&=é\udcff", NOW)
    assert verdict == Principal("sub:alice", NOW + 60)
    assert login.look("opaque&=é\udcff", NOW + 59) == verdict
    assert login.look("opaque&=é\udcff", NOW + 60) == Pending("opaque&=é\udcff")
    assert web.forms == [{"token": ["opaque&=é\udcff"], "token_type_hint": ["access_token"]}]
    login_header = base64.b64decode(web.headers[0]["Authorization"].removeprefix("Basic ")).decode()
    assert login_header == "re+lay:canary%2B"
    assert "canary" not in repr(CLIENT)


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        ({"active": False}, 401, "not active"),
        ({**active(), "active": "true"}, 401, "not active"),
        ({**active(), "active": 1}, 401, "not active"),
        (claims(), 401, "not active"),
        (active(aud=None), 401, "for another audience"),
        (active(aud="other"), 401, "for another audience"),
        (active(iss="https://evil.example"), 401, "of another issuer"),
        (active(exp=1), 401, "has expired"),
        (active(exp="x"), 401, "when it ends"),
        (active(nbf=9_999_999_999), 401, "not valid yet"),
        (active(sub=None), 401, "whose it is"),
        (active(scope="other"), 403, "lacks mcp:use"),
        (unreachable(), 503, "cannot be asked"),
        ([], 503, "cannot be asked"),
        (None, 503, "cannot be asked"),
    ],
)
async def test_i_08_what_is_not_good(answer: object, status: int, said: str) -> None:
    """Nothing of it is remembered."""
    login, web = made(answer)
    for _ in range(2):
        verdict = await login.verify("opaque", NOW)
        assert isinstance(verdict, Challenge) and verdict.status == status and said in verdict.message
        assert verdict.is_failed_login is (status == 401) and "opaque" not in repr(verdict)
    assert len(web.asked) == 2


async def test_i_08_an_answer_without_issuer_and_end() -> None:
    """RFC 7662 makes both optional; the token is asked about again after a minute."""
    login, _ = made(active(iss=None, exp=None))
    assert await login.verify("opaque", NOW) == Principal("sub:alice", NOW + 60)


async def test_i_08_one_question_for_many_requests() -> None:
    """Also if the first of them leaves; another token is another question."""
    login, web = made(active())
    tasks = [asyncio.get_running_loop().create_task(login.verify(token, NOW)) for token in ["a"] * 9 + ["b"]]
    await asyncio.sleep(0)
    tasks[0].cancel()
    verdicts = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(verdict, Principal) for verdict in verdicts[1:]) and len(web.asked) == 2
    await login.aclose()
