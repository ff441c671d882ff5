"""What is known of one server: learned from its answers, and what must be asked before a request is checked."""

from __future__ import annotations

import json

import pytest

from relay.frames.frame import Frame
from relay.mcp.facts import RequestFacts
from relay.mcp.profile import ServerProfile, next_cursor
from relay.mcp.revisions import MODERN_VERSION
from tests.clock import Clock
from tests.mcp.messages import listing, param, tool

CALL = RequestFacts(MODERN_VERSION, True, "t")


def discovered(versions: object) -> Frame:
    """Make an answer to ``server/discover``."""
    return Frame(json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"supportedVersions": versions}}).encode())


@pytest.mark.parametrize(
    "versions", [7, "2026-07-28", [1], [MODERN_VERSION, None], ["x" * 5000]], ids=["int", "str", "ints", "null", "long"]
)
def test_versions_that_are_no_list_of_some_strings_teach_nothing(versions: object) -> None:
    """Every version counts as supported until the server has declared its own."""
    profile = ServerProfile(Clock())
    profile.take("server/discover", discovered(versions))
    assert profile.versions is None
    assert profile.supports("anything") and profile.supports(None)


def test_a_server_supports_what_it_declares() -> None:
    """Only an answer to ``server/discover`` declares it, and a later one replaces it."""
    profile = ServerProfile(Clock())
    profile.take("tools/list", discovered(["a"]))
    assert profile.versions is None
    profile.take("server/discover", discovered(["a", "b"]))
    assert profile.supports("a") and not profile.supports("c") and not profile.supports(None)
    profile.take("server/discover", Frame(b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}'))
    profile.take("server/discover", Frame(b'{"jsonrpc":"2.0","id":1,"result":'))
    assert profile.versions == ("a", "b")


def test_another_version_than_the_known_one_is_asked_for_once() -> None:
    """Requests of the newest known revision need no question: nearly every server has it."""
    profile = ServerProfile(Clock())
    assert profile.question("x", RequestFacts(MODERN_VERSION)) is None
    assert profile.question("x", RequestFacts("2027-01-01")) == "server/discover"
    profile.take("server/discover", discovered([]))
    assert profile.question("x", RequestFacts("2027-01-01")) is None


def test_a_tool_that_was_never_listed_is_asked_for_every_half_a_minute() -> None:
    """It may have been added since; a client cannot make the relay ask with every call."""
    clock = Clock()
    profile = ServerProfile(clock)
    assert profile.question("tools/call", CALL) == "tools/list"
    assert profile.question("prompts/get", CALL) is None
    assert profile.question("tools/call", RequestFacts(MODERN_VERSION, True)) is None, "it names no tool"
    profile.note_listed()
    clock.now += 30
    assert profile.question("tools/call", CALL) is None
    clock.now += 0.1
    assert profile.question("tools/call", CALL) == "tools/list"
    profile.take("tools/list", listing(tool("t", a=param("A"))))
    assert profile.question("tools/call", CALL) is None
    assert profile.tools.of("t")


@pytest.mark.parametrize(
    ("result", "cursor"), [({"nextCursor": "c"}, "c"), ({"nextCursor": 1}, None), ({}, None), (None, None)]
)
def test_where_a_list_goes_on(result: object, cursor: str | None) -> None:
    """At its ``nextCursor``, if that is a string."""
    assert next_cursor(Frame(json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode())) == cursor
