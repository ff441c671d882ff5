"""Signed tokens: which are good, which are not and why, and where the keys come from. Nothing listens here."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import pytest

from relay.auth.inbound.claims import Expected
from relay.auth.inbound.issuer_keys import read_keys
from relay.auth.inbound.jwt import JwtLogin
from relay.auth.inbound.verdicts import Challenge, Pending, Principal, Verdict
from tests.auth.inbound.issuer import (
    AUDIENCE,
    EXPECTED,
    ISSUER,
    Web,
    claims,
    key_of,
    public,
    signed,
    unreachable,
)

pytestmark = pytest.mark.only_loop("asyncio")

JWKS = "https://as.example/keys"
NOW = 1000.0  # by the loop's clock


def all_keys() -> dict[str, Any]:
    return public(key_of("RSA", "r"), key_of("EC"), key_of("OKP", "o"))


def made(document: object, expected: Expected = EXPECTED) -> tuple[JwtLogin, Web]:
    web = Web({JWKS: document})
    return JwtLogin(web, expected, JWKS, lambda: None), web


async def judged(token: str, document: object = None) -> Verdict:
    login, _ = made(all_keys() if document is None else document)
    assert login.look("x.y.z", NOW) != Pending("x")
    await login.keys.fetch(NOW)
    return login.look(token, NOW)


@pytest.mark.parametrize(
    ("kind", "kid", "algorithm"),
    [
        ("RSA", "r", "RS256"),
        ("RSA", "r", "PS256"),
        ("EC", "one", "ES256"),
        ("OKP", "o", "Ed25519"),
        ("OKP", "o", "EdDSA"),
    ],
)
@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")  # to sign with the old name
async def test_i_08_what_signs(kind: str, kid: str, algorithm: str) -> None:
    """RS256, PS256, ES256 and EdDSA under both of its names."""
    verdict = await judged(signed(claims(), key_of(kind, kid), algorithm))
    assert isinstance(verdict, Principal) and verdict.name == "sub:alice"
    assert verdict.until is not None and NOW + 598 < verdict.until <= NOW + 600


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": [AUDIENCE, "other"]},
        {"exp": int(time.time()) + 3000.5},
        {"nbf": int(time.time()) + 20},
        {"scope": None, "scp": ["mcp:use"]},
        {"scope": None, "scp": "mcp:use x"},
        {"sub": None, "client_id": "alice"},
    ],
)
async def test_i_08_what_a_good_token_says(changed: dict[str, Any]) -> None:
    """As servers differ; a clock may be half a minute ahead."""
    verdict = await judged(signed(claims(**changed)))
    assert isinstance(verdict, Principal) and verdict.name == "sub:alice"
    assert verdict.until is not None and verdict.until <= NOW + 600


HOUR_AGO = int(time.time()) - 3600
FORGED = signed(claims(), key_of("EC", "forged"), kid="one")


def unsigned(**header: Any) -> str:
    parts = ({"alg": "none", "kid": "one", **header}, claims())
    first, second = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
    return f"{first}.{second}."


def with_public_key_as_secret() -> str:
    """The old trick: HMAC with the public key, which everybody knows."""
    from joserfc import jwk

    secret = jwk.import_key(json.dumps(key_of("RSA", "r").as_dict(private=False)).encode(), "oct")
    return signed(claims(), secret, "HS256", kid="r")


BAD: dict[str, Any] = {
    "no signature": (unsigned(), "not signed with one of"),
    "none in capitals": (unsigned(alg="NONE"), "not signed with one of"),
    "no algorithm": (unsigned(alg=""), "not signed with one of"),
    "an algorithm that is no text": (unsigned(alg=5), "not a signed JSON Web Token"),
    "HMAC": (lambda: signed(claims(), key_of("oct")), "not signed with one of"),
    "HMAC with the public key": (with_public_key_as_secret, "not signed with one of"),
    "an algorithm of another key": (lambda: signed(claims(), key_of("EC"), kid="r"), "unknown key"),
    "another key": (FORGED, "the signature of the token is wrong"),
    "a changed claim": (
        lambda: signed(claims()).split(".")[0] + "." + FORGED.split(".")[1] + "." + signed(claims()).split(".")[2],
        "the signature of the token is wrong",
    ),
    "an unknown key": (lambda: signed(claims(), key_of("EC", "else")), "unknown key"),
    "no key named, of several": (lambda: signed(claims(), key_of("EC"), kid=None), None),
    "its own key": (
        lambda: signed(claims(), key_of("EC", "own"), jwk=key_of("EC", "own").as_dict(private=False)),
        "unknown key",
    ),
    "its own address of keys": (lambda: signed(claims(), key_of("EC", "own"), jku="https://evil/keys"), "unknown key"),
    "a critical header": (lambda: unsigned(alg="ES256", crit=["b64"], b64=False), "another type"),
    "another type": (lambda: signed(claims(), typ="dpop+jwt"), "another type"),
    "a logout": (lambda: signed(claims(), typ="logout+jwt"), "another type"),
    "of another issuer": (lambda: signed(claims(iss="https://evil.example")), "of another issuer"),
    "of almost the issuer": (lambda: signed(claims(iss=ISSUER + "/")), "of another issuer"),
    "of no issuer": (lambda: signed(claims(iss=None)), "of another issuer"),
    "for another": (lambda: signed(claims(aud="https://other.example/mcp")), "for another audience"),
    "for a part of ours": (lambda: signed(claims(aud="https://mcp.example")), "for another audience"),
    "for others": (lambda: signed(claims(aud=["a", "b"])), "for another audience"),
    "for nobody": (lambda: signed(claims(aud=None)), "for another audience"),
    "for an object": (lambda: signed(claims(aud={AUDIENCE: 1})), "for another audience"),
    "ended": (lambda: signed(claims(exp=HOUR_AGO)), "has expired"),
    "just ended": (lambda: signed(claims(exp=int(time.time()))), "has expired"),
    "without an end": (lambda: signed(claims(exp=None)), "when it ends"),
    "with a text as its end": (lambda: signed(claims(exp="9999999999")), "when it ends"),
    "with true as its end": (lambda: signed(claims(exp=True)), "when it ends"),
    "with an end beyond all": (lambda: signed(claims(exp=10**30)), "when it ends"),
    "not yet": (lambda: signed(claims(nbf=int(time.time()) + 40)), "not valid yet"),
    "issued tomorrow": (lambda: signed(claims(iat=int(time.time()) + 86_400)), "not valid yet"),
    "of nobody": (lambda: signed(claims(sub=None)), "whose it is"),
    "of an empty name": (lambda: signed(claims(sub="")), "whose it is"),
    "of a number": (lambda: signed(claims(sub=7)), "whose it is"),
    "of an endless name": (lambda: signed(claims(sub="a" * 600)), "whose it is"),
    "nothing": ("..", "not a signed JSON Web Token"),
    "two parts": ("a.b", "not a signed JSON Web Token"),
    "five parts": ("a.b.c.d.e", "not a signed JSON Web Token"),
    "no base64": ("é.b.c", "not a signed JSON Web Token"),
    "a large header": ("a" * 9000 + ".b.c", "not a signed JSON Web Token"),
    "a list": ("W10.W10.x", "not a signed JSON Web Token"),
}


@pytest.mark.parametrize("what", BAD)
async def test_i_08_bad_tokens(what: str) -> None:
    """Each is refused with a reason that names no part of it."""
    token, said = BAD[what]
    verdict = await judged(token() if callable(token) else token)
    if said is None:  # one key fits the algorithm, so none needs a name
        assert isinstance(verdict, Principal)
        return
    if isinstance(verdict, Pending):  # its key is fetched at once, and is not there
        login, _ = made(all_keys())
        verdict = await login.verify(token() if callable(token) else token, NOW)
    assert isinstance(verdict, Challenge) and said in verdict.message, verdict
    assert (verdict.status, verdict.error, verdict.is_failed_login) == (401, "invalid_token", True)


async def test_i_08_a_token_that_allows_too_little() -> None:
    """Is good, so it is no failed login; the client learns what it needs."""
    verdict = await judged(signed(claims(scope="other")))
    assert isinstance(verdict, Challenge)
    assert (verdict.status, verdict.error, verdict.scope) == (403, "insufficient_scope", "mcp:use")
    assert not verdict.is_failed_login


async def test_i_08_keys_that_sign_nothing() -> None:
    """Short ones, secret ones, those for encryption and other curves."""
    encrypts = {**key_of("EC").as_dict(private=False), "use": "enc"}
    other = {**key_of("EC").as_dict(private=False), "alg": "ES512"}
    wraps = {**key_of("EC").as_dict(private=False), "key_ops": ["wrapKey"]}
    others = [encrypts, other, wraps, {}, {"kty": "EC"}, {"kty": ["EC"]}, "x", key_of("oct").as_dict()]
    short = key_of("short RSA").as_dict(private=False)
    assert read_keys({"keys": [*others, short, key_of("P-384").as_dict(private=False)]}) == []
    assert read_keys({}) == read_keys({"keys": {}}) == []
    (found,) = read_keys({"keys": [{**key_of("EC").as_dict(private=True)}]})  # published by mistake: still good
    assert found.algorithms == {"ES256"} and '"d"' not in found.text


async def test_i_08_no_kid_and_several_keys() -> None:
    """Then the token must say which."""
    document = public(key_of("EC"), key_of("EC", "two"))
    verdict = await judged(signed(claims(), kid=None), document)
    assert isinstance(verdict, Challenge) and "does not name its key" in verdict.message


async def test_i_08_an_unknown_key_is_fetched_at_once_then_once_a_minute() -> None:
    """So nobody makes the relay ask for each of many tokens."""
    login, web = made(public(key_of("EC")))
    old, new = signed(claims()), signed(claims(), key_of("EC", "new"))
    assert login.look(old, NOW) == Pending(old)
    assert isinstance(await login.verify(old, NOW), Principal)
    assert isinstance(login.look(old, NOW + 1), Principal) and len(web.asked) == 1
    assert isinstance(await login.verify(new, NOW + 1), Challenge) and len(web.asked) == 2
    for at in (2, 30, 60):
        assert isinstance(login.look(new, NOW + at), Challenge)
    web.documents[JWKS] = public(key_of("EC"), key_of("EC", "new"))
    assert login.look(new, NOW + 61) == Pending(new)
    assert isinstance(await login.verify(new, NOW + 61), Principal) and len(web.asked) == 3


async def test_i_08_many_wait_for_one_fetch() -> None:
    """Also if the first of them leaves."""
    login, web = made(public(key_of("EC")))
    token = signed(claims())
    tasks = [asyncio.get_running_loop().create_task(login.verify(token, NOW)) for _ in range(20)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    verdicts = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(verdict, Principal) for verdict in verdicts[1:]) and len(web.asked) == 1


async def test_i_08_known_keys_work_while_their_server_is_down(caplog: pytest.LogCaptureFixture) -> None:
    """For an hour, with one line in the log; and no token waits for a server that is not there."""
    login, web = made(public(key_of("EC")))
    start = asyncio.get_running_loop().time()
    await login.verify(signed(claims()), start)
    web.documents[JWKS] = unreachable()
    for at in (700, 1400, 3500):
        assert isinstance(login.look(signed(claims(sub=f"{at}")), start + at), Principal)
        await asyncio.sleep(0)
        await login.keys.fetch(start + at)
    assert caplog.text.count("cannot get the keys of https://as.example: nobody is there") == 1
    late = start + 3700
    token = signed(claims(sub="late"))
    assert login.look(token, late) == Pending(token)
    verdict = await login.verify(token, late)
    assert isinstance(verdict, Challenge) and (verdict.status, verdict.retry_after) == (503, 5)
    assert not verdict.is_failed_login
    assert login.look(token, late + 1) == verdict  # the next does not ask again at once
    web.documents[JWKS] = public(key_of("EC"))
    assert isinstance(await login.verify(token, late + 6), Principal)


async def test_i_08_a_key_that_is_gone_ends_admissions() -> None:
    """The keys are fetched again after ten minutes, and nobody waits for that."""
    web = Web({JWKS: public(key_of("EC"), key_of("EC", "two"))})
    told: list[bool] = []
    login = JwtLogin(web, EXPECTED, JWKS, lambda: told.append(True))
    start = asyncio.get_running_loop().time()
    token = signed(claims(), key_of("EC", "two"))
    assert isinstance(await login.verify(token, start), Principal) and not told
    web.documents[JWKS] = public(key_of("EC"))
    assert isinstance(login.look(token, start + 30), Principal) and len(web.asked) == 1
    assert isinstance(login.look(token, start + 601), Principal)
    await asyncio.sleep(0.01)
    assert told and len(web.asked) == 2
    assert not isinstance(login.look(token, start + 602), Principal)


@pytest.mark.parametrize(
    ("issuer", "asked"),
    [
        (
            "https://as.example",
            [".well-known/oauth-authorization-server", ".well-known/openid-configuration"],
        ),
        (
            "https://as.example/t",
            [".well-known/oauth-authorization-server/t", ".well-known/openid-configuration/t",
             "t/.well-known/openid-configuration"],
        ),
    ],
)  # fmt: skip
async def test_i_08_keys_are_where_the_issuers_metadata_says(issuer: str, asked: list[str]) -> None:
    """RFC 8414 first, then OpenID Connect."""
    urls = [f"https://as.example/{path}" for path in asked]
    web = Web({urls[-1]: {"issuer": issuer, "jwks_uri": JWKS}, JWKS: public(key_of("EC"))})
    login = JwtLogin(web, Expected(issuer, AUDIENCE), None, lambda: None)
    assert isinstance(await login.verify(signed(claims(iss=issuer)), NOW), Principal)
    assert web.asked == [*urls, JWKS]


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": ISSUER + "/", "jwks_uri": JWKS},
        {"issuer": ISSUER, "jwks_uri": "http://as.example/keys"},
        {"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"},
        {"issuer": ISSUER},
        [],
        None,
    ],
)
async def test_i_08_metadata_that_is_not_the_issuers(metadata: object) -> None:
    """Its keys are not used."""
    url = f"{ISSUER}/.well-known/oauth-authorization-server"
    web = Web({url: metadata, JWKS: public(key_of("EC")), "http://as.example/keys": public(key_of("EC"))})
    verdict = await JwtLogin(web, EXPECTED, None, lambda: None).verify(signed(claims()), NOW)
    assert isinstance(verdict, Challenge) and verdict.status == 503
    assert JWKS not in web.asked and "http://as.example/keys" not in web.asked


async def test_i_08_a_token_that_was_good_is_not_checked_again_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for no longer than it lasts."""
    checked: list[str] = []
    from relay.auth.inbound import jwt

    really = jwt._verified

    def verified(token: str, key: Any, algorithm: str) -> bytes | None:
        checked.append(token)
        return really(token, key, algorithm)

    monkeypatch.setattr(jwt, "_verified", verified)
    login, _ = made(public(key_of("EC")))
    token = signed(claims(exp=int(time.time()) + 30))
    await login.verify(token, NOW)
    for at in (1, 25):
        assert isinstance(login.look(token, NOW + at), Principal)
    assert len(checked) == 1
    login.look(token, NOW + 31)
    assert len(checked) == 2
