"""The reference pages have every option, every key and every name, and what they say is what the program says."""

from __future__ import annotations

import argparse
import re

import relay
import relay.testing
from docs.hooks.reference import PARTS, command_line, relay_keys, server_keys
from relay.app.completion.commands import commands, parsers
from relay.app.config.layers import variable_of
from relay.app.config.values import options_of
from tests.docs.blocks import ROOT

REFERENCE = ROOT / "docs" / "reference"


def test_every_command_and_option_is_there() -> None:
    """Each as a definition, or as a link to the one that it shares with the program itself."""
    page = command_line()
    for command in commands():
        if command.word == "as":
            continue
        # A command such as `config` has its options in the sections of its own words: `config check` and others.
        name = f"mcp-relay {command.word}(?: \\w+)?" if command.word else "mcp-relay"
        section = "".join(re.findall(rf"^## {name}$.*?(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
        for flag in command.flags:
            if flag.names != ("-h", "--help"):
                assert any(f"{name}" in section for name in flag.names), (command.word, flag.names)


def test_every_option_says_what_it_does() -> None:
    assert re.findall(r"^`(.*)` .*\n: *$", command_line(), re.MULTILINE) == []


def test_an_anchor_is_there_once() -> None:
    anchors = re.findall(r"\{ #([\w-]+) \}", command_line())
    assert sorted(set(anchors)) == sorted(anchors)
    assert {"share", "max-frame-bytes", "proxy-endpoint"} <= set(anchors)


def test_what_is_said_is_the_programs_help() -> None:
    """A changed help text changes the page."""
    parser = parsers()[""]
    (action,) = (one for one in parser._actions if "--session-idle" in one.option_strings)
    assert action.help is not None
    action.help = "something new"
    from docs.hooks import reference

    assert ":   something new\n" in reference._definition(parser, action, prefix="")


def test_every_key_is_there_with_its_variable() -> None:
    page = relay_keys()
    for key, action in options_of(parsers()[""]).items():
        assert (f"| `{key}` | `{variable_of(key)}` |" in page) == (action.help != argparse.SUPPRESS)
    assert "| `bearer_token_env_var` | text |" in server_keys()


def test_every_part_has_a_place() -> None:
    """A part that no page names would not be read."""
    said = re.findall(r"<!-- generated: ([\w ]+) -->", "".join(page.read_text() for page in REFERENCE.glob("*.md")))
    assert sorted(said) == sorted(PARTS)


def test_every_public_name_is_in_the_python_reference() -> None:
    page = (REFERENCE / "python.md").read_text()
    said = set(re.findall(r"^::: (relay[\w.]*)$", page, re.MULTILINE))
    # `relay.pipe` is a function for those who import relay, and a module for those who read its files.
    public = {"relay.pipe.pipe" if name == "pipe" else f"relay.{name}" for name in relay.__all__}
    public -= {"relay.__version__"}
    assert said == public | {f"relay.testing.{name}" for name in relay.testing.__all__}
    assert "`relay.__version__`" in page
