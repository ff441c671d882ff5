"""Static tokens: where they come from, how a request carries one, and how failures count. Nothing listens here."""

from __future__ import annotations

import hmac
from pathlib import Path

import pytest
from multidict import CIMultiDict

from relay.auth.inbound.challenges import www_authenticate
from relay.auth.inbound.failures import FailedLogins
from relay.auth.inbound.login import InboundLogin
from relay.auth.inbound.presented import presented_token
from relay.auth.inbound.token_sources import GivenTokens, TokenSources, parse_source
from relay.auth.inbound.tokens import StaticTokens
from relay.auth.inbound.verdicts import Challenge, Principal
from relay.errors import ConfigError

ALICE, BOB = "alice-" + "a" * 40, "bob-" + "b" * 40
HERE = "192.0.2.1"


def login(**tokens: str) -> InboundLogin:
    return InboundLogin(GivenTokens(tokens))


def sent(*headers: tuple[str, str]) -> CIMultiDict[str]:
    return CIMultiDict(headers)


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([("Authorization", f"Bearer {ALICE}")], ALICE),
        ([("authorization", f"bearer   {ALICE} ")], ALICE),
        ([("X-API-Key", ALICE)], ALICE),
        ([("x-proxy-token", ALICE)], ALICE),
        ([("Authorization", f"Bearer {ALICE}"), ("X-API-Key", ALICE)], ALICE),
        ([("Authorization", "Basic eDp5"), ("X-API-Key", ALICE)], ALICE),
        ([("Authorization", "Basic eDp5")], None),
        ([("Authorization", "Bearer ")], None),
        ([("X-API-Key", "")], None),
        ([], None),
    ],
)
def test_i_07_where_a_token_may_be(headers: list[tuple[str, str]], token: str | None) -> None:
    """In any of three headers, which may agree; an empty one is none."""
    assert presented_token(sent(*headers)) == token


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", f"Bearer {ALICE}"), ("X-API-Key", BOB)],
        [("X-API-Key", ALICE), ("X-API-Key", BOB)],
        [("X-Proxy-Token", "x"), ("X-API-Key", BOB)],
    ],
)
def test_i_07_two_tokens_are_none(headers: list[tuple[str, str]]) -> None:
    """Another server on the way could see the other one."""
    verdict = login(alice=ALICE, bob=BOB).look(sent(*headers), HERE, 0)
    assert isinstance(verdict, Challenge) and (verdict.status, verdict.error) == (400, "invalid_request")


def test_i_07_every_token_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a right nor a wrong token shows by the time how many there are before it."""
    compared = 0

    def compare(one: bytes, other: bytes) -> bool:
        nonlocal compared
        compared += 1
        assert len(one) == len(other) == 32
        return really_compare(one, other)

    really_compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare)
    known = StaticTokens([("a", ALICE), ("b", BOB), ("c", "c" * 40)])
    for token, name in ((ALICE, "a"), ("c" * 40, "c"), ("x", None), ("é\udcff", None), ("", None)):
        compared = 0
        assert known.name_of(token) == name
        assert compared == 3


def test_i_07_no_text_of_a_token_is_kept() -> None:
    """Only hashes."""
    assert ALICE not in repr(vars(StaticTokens([("a", ALICE)])))


def test_i_07_tokens_in_files_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One a line, after a name; two tokens of one principal, for the time of a change; padding is not a name."""
    file = tmp_path / "tokens"
    file.write_text(f"# for clients\n\nalice {ALICE}\n bob={BOB}\nbob = {BOB}2\n{'dGVzdA' * 6}==\nx@y\tq=w=\n")
    monkeypatch.setenv("THE_TOKEN", f" {'v' * 40}\n")
    sources = [f"file:{file}", "env:THE_TOKEN", "carol=env:THE_TOKEN2"]
    monkeypatch.setenv("THE_TOKEN2", "w" * 40)
    found = TokenSources([parse_source(text, "--accept-token") for text in sources], "--accept-token").read()
    assert found == [
        ("alice", ALICE),
        ("bob", BOB),
        ("bob", f"{BOB}2"),
        ("tokens", "dGVzdA" * 6 + "=="),
        ("x@y", "q=w="),
        ("THE_TOKEN", "v" * 40),
        ("carol", "w" * 40),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("canary-token", "write [NAME=]env:VARIABLE or [NAME=]file:PATH"),
        ("alice=canary-token", "write [NAME=]env"),
        ("env:", "write [NAME=]env"),
        ("a b=env:X", "'a b' is not a name"),
        ("env:NOT_SET_AT_ALL", "the variable 'NOT_SET_AT_ALL' is not set, or is empty"),
        ("file:/does/not/exist", "'/does/not/exist' cannot be read: No such file or directory"),
        ("file:{empty}", "has no token in it"),
        ("file:{odd}", "expected NAME TOKEN"),
        ("file:{twice}", "'alice' has this token already"),
        ("file:{foreign}", "visible ASCII"),
    ],
)
def test_i_07_sources_that_hold_no_token(text: str, said: str, tmp_path: Path) -> None:
    """The relay does not start, and the message shows no token."""
    contents = {
        "empty": "# nothing\n",
        "odd": "alice canary-token more\n",
        "twice": "alice canary-token\nbob canary-token\n",
        "foreign": "alice canary-tökén\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
        text = text.replace(f"{{{name}}}", str(tmp_path / name))
    with pytest.raises(ConfigError) as refused:
        TokenSources([parse_source(text, "--accept-token")], "--accept-token").read()
    assert said in str(refused.value) and "canary" not in str(refused.value)


def test_a_reload_that_fails_changes_nothing(tmp_path: Path) -> None:
    """One that succeeds tells the listeners, whose connections then ask again."""
    file = tmp_path / "tokens"
    file.write_text(f"alice {ALICE}")
    accepts = InboundLogin(TokenSources([parse_source(f"file:{file}", "-")], "-"))
    told: list[bool] = []
    accepts.call_at_change(lambda: told.append(True))
    file.write_text("")
    with pytest.raises(ConfigError):
        accepts.reload()
    assert accepts.look(sent(("X-API-Key", ALICE)), HERE, 0) == Principal("alice") and not told
    file.write_text(f"bob {BOB}")
    accepts.reload()
    assert isinstance(accepts.look(sent(("X-API-Key", ALICE)), HERE, 0), Challenge) and told
    assert accepts.secrets == [BOB]


def test_i_14_ten_failures_a_minute() -> None:
    """The eleventh waits until the first is a minute old. What was good at that address before still is."""
    accepts, wrong = login(alice=ALICE, bob=BOB), sent(("X-API-Key", "wrong"))
    assert accepts.look(sent(("X-API-Key", ALICE)), HERE, 0) == Principal("alice")
    for at in range(10):
        verdict = accepts.look(wrong, HERE, at)
        assert isinstance(verdict, Challenge) and verdict.status == 401 and verdict.is_failed_login
        accepts.note_failure(HERE, at)
    for token in ("wrong", "another", BOB):
        verdict = accepts.look(sent(("X-API-Key", token)), HERE, 10.5)
        assert isinstance(verdict, Challenge) and (verdict.status, verdict.retry_after) == (429, 50)
        assert not verdict.is_failed_login
    assert accepts.look(sent(("X-API-Key", ALICE)), HERE, 10) == Principal("alice")
    assert accepts.look(sent(("X-API-Key", BOB)), "192.0.2.2", 10) == Principal("bob")
    assert accepts.look(sent(("X-API-Key", BOB)), HERE, 60) == Principal("bob")


def test_i_14_a_token_that_has_ended_is_no_guess() -> None:
    """A client whose token ends in the middle of many calls is not locked out with its next token."""
    tokens = {"alice": ALICE}
    accepts = InboundLogin(GivenTokens(tokens))
    assert accepts.look(sent(("X-API-Key", ALICE)), HERE, 0) == Principal("alice")
    tokens["alice"] = BOB
    accepts.reload()
    for address, counts in ((HERE, False), ("192.0.2.2", True)):
        verdict = accepts.look(sent(("X-API-Key", ALICE)), address, 1)
        assert isinstance(verdict, Challenge) and (verdict.status, verdict.error) == (401, "invalid_token")
        assert verdict.is_failed_login is counts


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("192.0.2.1", "192.0.2.2", False),
        (None, None, True),
    ],
)
def test_i_14_one_client_is_one_address(one: str | None, other: str | None, is_same: bool) -> None:
    """A client of IPv6 has a whole /64."""
    failures = FailedLogins(1)
    failures.failed(one, 0)
    assert bool(failures.wait_of(other, "x", 0)) is is_same


def test_i_14_the_tables_of_addresses_have_an_end() -> None:
    """Many addresses make the oldest forgotten, and cost no more memory."""
    failures = FailedLogins(1)
    for number in range(10_000):
        failures.failed(f"10.0.{number // 256}.{number % 256}", 0)
        failures.succeeded(f"10.0.{number // 256}.{number % 256}", "x")
    assert len(failures._failed) == 4096 and len(failures._proven) == 8192


def test_an_exception_in_a_verifier_is_a_challenge(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It fails closed, and the log has no token."""
    accepts = login(alice=ALICE)

    def fail(token: str) -> str:
        raise RuntimeError(f"cannot judge {token}")

    monkeypatch.setattr(accepts.tokens, "name_of", fail)
    verdict = accepts.look(sent(("X-API-Key", ALICE)), HERE, 0)
    assert isinstance(verdict, Challenge) and (verdict.status, verdict.error) == (401, "invalid_token")
    assert "RuntimeError" in caplog.text and ALICE not in caplog.text


@pytest.mark.parametrize(
    ("challenge", "url", "header"),
    [
        (Challenge(message="m"), None, "Bearer"),
        (Challenge(message="m"), "https://x/p", 'Bearer resource_metadata="https://x/p"'),
        (Challenge(message="m", error="invalid_token"), None, 'Bearer error="invalid_token", error_description="m"'),
        (
            Challenge(status=403, message='a "b" \\', error="insufficient_scope", scope="a b"),
            "https://x",
            r'Bearer error="insufficient_scope", error_description="a \"b\" \\", scope="a b", resource_metadata="https://x"',
        ),
    ],
)
def test_how_a_challenge_reads(challenge: Challenge, url: str | None, header: str) -> None:
    """RFC 6750 §3; without a token nothing is said of errors."""
    assert www_authenticate(challenge, url) == header
