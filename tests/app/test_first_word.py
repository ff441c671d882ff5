"""The first word of the command line: a subcommand, a mistyped one, an address, or a program."""

from __future__ import annotations

import pytest

from relay import cli
from relay.app.commands.first_word import check_first_word, is_near
from relay.errors import ConfigError

SUBCOMMANDS = ("as", "test", "install", "config", "reset", "proxy", "load-balance")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("tset", "test"),  # a program of that name resets terminals
        ("tests", "test"),
        ("est", "test"),
        ("Test", "test"),
        ("instal", "install"),
        ("isntall", "install"),
        ("conifg", "config"),
        ("load-balanc", "load-balance"),
    ],
)
def test_a_word_that_is_nearly_a_subcommand_is_not_run(word: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean 'mcp-relay {meant}'.*mcp-relay -- {word} …"):
        check_first_word([word, "https://host/mcp"], SUBCOMMANDS)


def test_an_unknown_word_hears_what_the_subcommands_are() -> None:
    with pytest.raises(ConfigError, match="neither a subcommand nor a program; the subcommands are as, config, "):
        check_first_word(["no-such-word", "--help"], SUBCOMMANDS)


@pytest.mark.parametrize("args", [["sh", "-c", "true"], ["/usr/bin/tset"], ["--port", "1", "tset"], ["tset.py"], []])
def test_programs_and_options_are_not_looked_at(args: list[str]) -> None:
    check_first_word(args, SUBCOMMANDS)


@pytest.mark.parametrize(
    ("word", "other"),
    [("text", "tests"), ("pytest", "test"), ("a", "as"), ("sa", "as"), ("tste", "stet"), ("", "test")],
)
def test_words_that_differ_more_are_programs(word: str, other: str) -> None:
    assert not is_near(word, other)


@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("localhost:9911/mcp", "http://localhost:9911/mcp"),
        ("localhost/mcp", "http://localhost/mcp"),
        ("127.0.0.1:80", "http://127.0.0.1:80/mcp"),
        ("[::1]:80/sse", "http://[::1]:80/sse"),
        ("mcp.example.com/mcp", "https://mcp.example.com/mcp"),
        ("devbox:8443", "https://devbox:8443/mcp"),
    ],
)
def test_an_address_without_a_scheme_hears_how_it_is_written(
    target: str, url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([target]) == 2
    assert f"{target!r} was not found" in (said := capfd.readouterr().err)
    assert f"; if it is an address, write {url}\n" in said
    assert cli.main(["test", target]) == 1
    assert url in capfd.readouterr().err


def test_a_program_that_is_not_there_hears_what_the_subcommands_are(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["no-such-word"]) == 2
    assert "add it to PATH; the subcommands are as, auth, completion, config, " in capfd.readouterr().err
    for target in ("server.py", "./a/b"):
        assert cli.main([target]) == 2
        assert "the subcommands" not in (said := capfd.readouterr().err) and "an address" not in said


@pytest.mark.parametrize("program", ["mcp-relay", "mcp-frame-relay", "/usr/local/bin/mcp-frame-relay"])
def test_both_programs_have_the_same_subcommands(
    program: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [program, "install", "--list"])
    assert cli.main() == 0
    assert "claude-desktop" in capfd.readouterr().out
    monkeypatch.setattr("sys.argv", [program, "instal", "--list"])
    assert cli.main() == 2
    assert "did you mean 'mcp-relay install'" in capfd.readouterr().err
