"""The path options: where a listener serves each transport, and which values are not paths."""

from __future__ import annotations

import pytest

from relay.app.specs import ListenSpec, parse_listen
from relay.cli import main
from relay.endpoints.http.paths import DEFAULT_PATHS, HttpPaths


@pytest.mark.parametrize(
    ("path", "places"),
    [
        ("/tools/mcp", [("", "/mcp")]),
        ("/tools/mcp/", [("", "/mcp")]),
        ("/servers/x/tools/mcp", [("/servers/x", "/mcp")]),
        ("/events", [("", "/sse")]),
        ("/servers/x/events", [("/servers/x", "/sse")]),
        ("/events/", []),
        ("/message", [("", "/messages/")]),
        ("/a/b/message/", [("/a/b", "/messages/")]),
        ("/mcp", []),
        ("/servers/x/mcp", []),
        ("/sse", []),
        ("/messages/", []),
        ("/xmessage", []),
        ("/", []),
        ("", []),
    ],
)
def test_a_path_that_was_chosen_stands_for_the_default(path: str, places: list[tuple[str, str]]) -> None:
    """At the root and behind every name; the default one for nothing, unless it was kept."""
    paths = HttpPaths(mcp="/tools/mcp", sse="/events", messages="/message")
    assert list(paths.places(path)) == places
    assert list(DEFAULT_PATHS.places("/servers/x/mcp/")) == [("/servers/x", "/mcp")]
    assert list(DEFAULT_PATHS.places("/messages")) == [("", "/messages/")]


def test_what_is_not_offered_is_nowhere() -> None:
    """Neither at its default path nor at the empty one."""
    for place in ("/mcp", "/", "", "/servers/x"):
        assert list(HttpPaths(mcp="").places(place)) == []
    for place in ("/sse", "/", "", "/servers/x"):
        assert list(HttpPaths(sse="").places(place)) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--mcp-path", "mcp"], "--mcp-path: 'mcp' is not a path such as /mcp"),
        (["--sse-path", "/a b"], "--sse-path: '/a b' is not a path"),
        (["--mcp-path", "/x?y"], "--mcp-path: '/x?y' is not a path"),
        (["--mcp-path", "", "--sse-path", ""], "both empty"),
        (["--mcp-path", "/sse"], "--sse-path: '/sse' is --mcp-path already"),
        (["--message-path", "/mcp/"], "--message-path: '/mcp/' is --mcp-path already"),
        (["--mcp-path", "/status"], "--mcp-path: '/status' is taken"),
        (["--mcp-path", "/servers/x"], "is below /servers, where servers with names are"),
        (["--servers-path", "x"], "--servers-path: 'x' is not a path"),
        (["--health-path", "//"], "--health-path: '//' is not a path"),
        (["--mcp-path", "/"], "--mcp-path: '/' is not a path"),
        (["--health-path", "/", "--health-path", "/"], "--health-path: '/' is --health-path already"),
        (["--health-path", "ok"], "--health-path: 'ok' is not a path"),
        (["--listen", "http://127.0.0.1:0/other"], "path /other is not /mcp; leave it out, or add --mcp-path /other"),
        (["--base-url", "example.com"], "--base-url: 'example.com' is not a URL"),
    ],
)
def test_what_is_no_path_is_said(words: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    """One line, exit 2."""
    assert main([*words, "--", "true"]) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and said in err, err


def test_an_address_may_repeat_the_path_that_was_chosen() -> None:
    """With a slash at its end or without."""
    for text in ("http://127.0.0.1:80/other", "http://127.0.0.1:80/other/", "http://127.0.0.1:80"):
        assert parse_listen(text, "/other") == ListenSpec("http", "127.0.0.1", 80)
