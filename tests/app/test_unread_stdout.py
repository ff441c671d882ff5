"""Printed text may have no reader, or no room on the disk: the exit code says so, without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_cli import ENVIRONMENT, PYTHON

PRINTING = {
    "version": ["--version"],
    "help": ["--help"],
    "completion": ["completion", "bash"],
    "schema": ["config", "schema", "relay"],
    "check": ["config", "check", "FILE"],
    "show": ["config", "show", "FILE"],
    "list": ["install", "--list"],
    "print": ["install", "--client", "cursor", "--print", "name", "http://127.0.0.1/mcp"],
    "test": ["test", "--json", "--timeout", "10", "--", PYTHON, "-m", "relay.demo.server"],
    "demo": ["notification-demo", "--count", "1"],
    "as": ["as", "supergateway", "--version"],
}


def printed_into(stdout: int, words: list[str], tmp_path: Path) -> tuple[int, str]:
    """Run the program; return its exit code and its stderr."""
    file = tmp_path / "f.json"
    file.write_text('{"mcpServers": {"a": {"url": "http://127.0.0.1/mcp"}}}')
    ended = subprocess.run(
        [PYTHON, "-m", "relay", *(word.replace("FILE", str(file)) for word in words)],
        stdout=stdout, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=ENVIRONMENT, timeout=20, text=True,
    )  # fmt: skip
    return ended.returncode, ended.stderr


@pytest.mark.parametrize("name", PRINTING)
def test_nobody_reads(name: str, tmp_path: Path) -> None:
    """As before ``| head -1``: silence, and the exit code of a program that SIGPIPE has ended."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        code, said = printed_into(writing, PRINTING[name], tmp_path)
    finally:
        os.close(writing)
    assert (code, said) == (0 if name == "demo" else 141, "")


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
@pytest.mark.parametrize("name", ["version", "show", "schema", "demo"])
def test_no_room(name: str, tmp_path: Path) -> None:
    """One line, and exit code 1."""
    with open("/dev/full", "wb") as full:
        code, said = printed_into(full.fileno(), PRINTING[name], tmp_path)
    assert code == 1
    assert said == "mcp-relay: stdout: what was to be printed is not all there: No space left on device\n"


def test_it_is_closed() -> None:
    """What is printed is lost, as it would be on the null device."""
    words = ["sh", "-c", 'exec "$@" >&-', "sh", PYTHON, "-m", "relay", "--version"]
    ended = subprocess.run(words, stderr=subprocess.PIPE, env=ENVIRONMENT, timeout=20, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
