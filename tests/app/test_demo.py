"""``make demo``: the relay before a small server, one visible call, and an orderly end."""

from __future__ import annotations

import re
import subprocess
import sys


def test_the_demo_makes_its_call_and_ends() -> None:
    """What ``make demo ONCE=1`` runs: both lines to paste, the call and its answer, exit code 0."""
    command = [sys.executable, "-m", "relay.app.demo", "--once"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r'"url": "http://127\.0\.0\.1:\d+/mcp"', ended.stdout)
    assert re.search(r'"command": ".+", "args": \[.*"http://127\.0\.0\.1:\d+/mcp"\]', ended.stdout)
    assert re.search(r'-> \{.*"tools/call"', ended.stdout)
    assert re.search(r'<- \{.*"result":.*"text":"hello', ended.stdout)
