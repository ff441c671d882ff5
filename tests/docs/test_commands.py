"""Every command line of the documents is one that its program takes."""

from __future__ import annotations

import json
import os
import re
import shlex
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import __main__ as bench
from bench import calls
from bench.flood import __main__ as flood
from relay.app.completion.commands import parsers
from relay.app.dropins import TOOLS
from relay.app.options.parser import parse_args, split_command
from relay.app.options.relay import parse
from relay.errors import ConfigError
from tests.docs.blocks import BLOCKS, ROOT, Block, command_lines
from tests.e2e.oracle import run_words, stdio_server

SHELL = [block for block in BLOCKS if block.language == "sh"]
PACKAGE = "mcp-frame-relay"


@pytest.fixture(autouse=True)
def no_variables_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MCP_RELAY_")]:
        monkeypatch.delenv(name)


# Programs, and what checks their words.


def check_relay(args: list[str]) -> None:
    """Parse a command line as the program does. Raises ConfigError."""
    word = args[0] if args else ""
    if word == "as":
        assert args[1] in (*TOOLS, "--help"), "tests/dropins runs these lines"
    elif word == "completion":
        assert args[1:] in (["bash"], ["zsh"], ["fish"])
    elif word in parsers() and word:
        before, _ = split_command(args[1:])
        parser = parsers()[word]
        if word in ("auth", "config"):
            parser.parse_args(before)
        else:
            parse_args(parser, before)
    else:
        options, _ = parse(args)
        assert not options.unused, f"without effect: {options.unused}"


def check_make(args: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    words = [word for word in args if "=" not in word]
    assert words
    assert set(words) <= set(targets)


def check_installer(args: list[str]) -> None:
    """Nobody is told to install a stranger's package: `mcp-relay` on PyPI is another project."""
    at = args.index("install") + 1
    packages = [word for word in args[at:] if not word.startswith("-")]
    assert packages
    assert all(re.split(r"[\[@=]", name)[0] in (PACKAGE, ".", "matplotlib") for name in packages), packages


def check_module(args: list[str]) -> None:
    assert args[0] == "-m"
    if args[1] == "venv":
        return
    parse_words: dict[str, Callable[[list[str]], Any]] = {
        "bench": bench._parse,
        "bench.flood": flood._parse,
        "bench.calls": calls._parse,
        "tests.docs.public_api": lambda words: words == [],
    }
    try:
        parse_words[args[1]](args[2:])
    except SystemExit as exc:  # after --help
        assert not exc.code, "a word that it does not know"


def check_docker(args: list[str]) -> None:
    if args[0] == "compose":
        assert (ROOT / args[args.index("-f") + 1]).is_file()
    elif args[0] == "build":
        assert (ROOT / args[args.index("-f") + 1]).is_file()
        assert f" AS {args[args.index('--target') + 1]}\n" in (ROOT / "deploy" / "Dockerfile").read_text()
    else:
        image = next(at for at, word in enumerate(args) if word.startswith("mcp-relay"))
        check_relay(args[image + 1 :])


def check_export(args: list[str]) -> None:
    assert all(re.match(r"[A-Z_]+=", word) for word in args)


def check_printf(args: list[str]) -> None:
    assert args[0].count("%s") >= 1


def check_curl(args: list[str]) -> None:
    """Its path is one of those that `test_addresses_that_curl_asks` or the test of its page asks."""
    if args[0] == "-s":
        assert args[1].removeprefix("http://127.0.0.1:8000") in ("/", "/proxy", "http://127.0.0.1:8080/status")
        return
    assert args[0].removeprefix("http://127.0.0.1:8080") in ("/status", "/health")


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "mcp-relay": check_relay,
    "make": check_make,
    "uv": check_installer,
    "pip": check_installer,
    "pipx": check_installer,
    "python": check_module,
    ".venv/bin/python": check_module,
    ".venv/bin/pre-commit": lambda words: yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text()),
    "docker": check_docker,
    "curl": check_curl,
    "export": check_export,
    "printf": check_printf,
}


@pytest.mark.parametrize("block", [block for block in SHELL if block.why_not is None], ids=str)
def test_each_command_is_one(block: Block) -> None:
    """The program that it starts takes its words."""
    found = False
    for words in command_lines(block):
        found = True
        check = CHECKS.get(words[0])
        assert check is not None, f"no check for {words[0]}: add one, or mark the block as not run and say why"
        check(words[1:])
    assert found


def test_a_mistake_is_found() -> None:
    """The checks can fail."""
    for line in ("mcp-relay --prot 8080 -- x", "make nothing", "pip install mcp-relay", "python -m bench --secs 1"):
        program, *args = shlex.split(line)
        with pytest.raises((AssertionError, ConfigError)):
            CHECKS[program](args)


def test_addresses_that_curl_asks() -> None:
    with run_words("--", *stdio_server()) as relay:
        assert "servers" in json.load(urllib.request.urlopen(f"{relay.base}/status", timeout=20))
        assert urllib.request.urlopen(f"{relay.base}/health", timeout=20).status == 200


# Inline commands in running text.


def inline_commands() -> Iterator[tuple[str, str]]:
    for path in sorted({block.page for block in BLOCKS}):
        text = re.sub(r"^```.*?^```$", "", (ROOT / path).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for line in re.findall(r"`(make [a-z-]+|mcp-relay (?:[^`]*\n?)[^`]*)`", text):
            yield path, " ".join(line.split())


def test_commands_in_the_text_exist() -> None:
    """Those without dots or bars, which stand for more."""
    checked = 0
    for path, line in inline_commands():
        program, *words = shlex.split(line)
        if "…" in line or "|" in line or program == line or any(word.isupper() for word in words):
            continue
        try:
            CHECKS[program](words)
        except (AssertionError, ConfigError) as exc:
            raise AssertionError(f"{path}: {line}") from exc
        except SystemExit:  # after --help
            pass
        checked += 1
    assert checked > 15


def test_no_page_tells_to_install_a_strangers_package() -> None:
    for path in sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/*")}):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?:install|uvx|pipx run|npx -y) mcp-relay\b", text), path


# Files.


def servers_in(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if isinstance(value.get("command"), str):
            yield value
        for each in value.values():
            yield from servers_in(each)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "json"], ids=str)
def test_json_is_json_and_its_entries_start_the_relay(block: Block) -> None:
    try:
        values = [json.loads(block.text)]
    except ValueError:
        values = [json.loads(line) for line in block.text.splitlines()]
    for entry in servers_in(values[0] if len(values) == 1 else {str(n): value for n, value in enumerate(values)}):
        if entry["command"] == "mcp-relay":
            check_relay(entry["args"])


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "toml"], ids=str)
def test_toml_is_a_configuration(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "x")
    (tmp_path / "relay.toml").write_text(block.text, encoding="utf-8")
    options, target = parse(["--config", str(tmp_path / "relay.toml")])
    assert target
    assert not options.unused


# Marks.


def test_each_block_has_a_language() -> None:
    """So that it is highlighted, and so that its test is found."""
    known = {"sh", "json", "toml", "yaml", "python", "text", "nginx", "caddyfile", "haproxy"}
    assert [str(block) for block in BLOCKS if block.language not in known] == []


def test_marks_say_why() -> None:
    """A block that is not run is the exception, and says why."""
    marked = [block for block in BLOCKS if block.why_not is not None]
    assert all(block.why_not and len(block.why_not) > 10 for block in marked)
    assert len(marked) < len(SHELL) / 4
