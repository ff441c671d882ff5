"""What the tests of TCP and of WebSocket say to a peer, and how they start one and read its errors."""

from __future__ import annotations

import json
import subprocess

from relay.frames.frame import Frame
from relay.limits import Limits

__all__ = ["HELLO", "QUICK", "answer", "error_of", "start"]

HELLO = Frame(b'{"jsonrpc":"2.0","method":"hello"}')
QUICK = Limits(close_grace=0.3, linger=1)


def answer(number: int) -> Frame:
    """Make the answer to ``request(number)``."""
    return Frame(b'{"jsonrpc":"2.0","id":%d,"result":{}}' % number)


def start(*words: str) -> subprocess.Popen[bytes]:
    """Start a peer of its own process."""
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)


def error_of(frame: Frame) -> tuple[object, int, object]:
    """Return id, code and data of an error."""
    message = json.loads(frame.raw)
    return message["id"], message["error"]["code"], message["error"].get("data")
