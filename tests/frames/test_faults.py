"""Too large, and not a message: the same words and codes, whichever way a frame came."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import relay
from relay.endpoints.http.decisions import Refused
from relay.endpoints.http.frame_checks import FrameChecks
from relay.errors import EndpointBroken, EndpointUnavailable, FrameTooLarge, LoginRefused, RelayError
from relay.frames import replies
from relay.frames.faults import message_fault, size_fault
from relay.frames.frame import Frame
from relay.frames.repair import sift
from relay.limits import Limits

WORDS = re.compile(r"not a JSON-RPC message: |--max-frame-bytes is |see --max-frame-bytes")


def test_one_file_has_the_words() -> None:
    """A file with words of its own would tell clients of one fault in two ways."""
    rooms = Path(relay.__file__).parent
    with_words = {
        path.relative_to(rooms).as_posix()
        for path in rooms.rglob("*.py")
        if path.parts[len(rooms.parts)] != "demo" and WORDS.search(path.read_text(encoding="utf-8"))
    }
    assert with_words == {"frames/faults.py"}


def test_the_size_is_said_as_it_is_known() -> None:
    """A whole frame has its size, one that was given up a least size."""
    assert size_fault(12, 10) == "a frame of 12 bytes; --max-frame-bytes is 10"
    assert size_fault(12, 10, "a body", is_cut=True) == "a body of 12 bytes or more; --max-frame-bytes is 10"


@pytest.mark.parametrize(
    ("reason", "code", "message", "delivered"),
    [
        (FrameTooLarge("a: large"), replies.TOO_LARGE, "a: large", "unknown"),
        (EndpointUnavailable("a: away"), replies.UNAVAILABLE, "a: away", "no"),
        (EndpointBroken("a: broke"), replies.LOST, "the request was lost: a: broke", "unknown"),
        (LoginRefused("a: nobody logged in"), replies.UPSTREAM_STATUS, "a: nobody logged in", "no"),
    ],
)
def test_an_end_has_the_code_of_its_reason(reason: RelayError, code: int, message: str, delivered: str) -> None:
    """The request may have been executed, unless its server could not be reached."""
    assert replies.end_by(reason)[:3] == (code, message, delivered)


BOTH = b'{"jsonrpc":"2.0","id":1,"method":"a","result":{}}'
BATCH = b"[" + b",".join([b'{"jsonrpc":"2.0","method":"a"}'] * 1001) + b"]"


@pytest.mark.parametrize(
    ("raw", "fault", "code", "status"),
    [
        (b'{"id":"\xff"}', "it is not UTF-8", replies.PARSE_ERROR, 400),
        (BOTH, "both a method and a result", replies.INVALID_REQUEST, 400),
        (BATCH, "a batch of more than 1000 messages", replies.TOO_LARGE, 413),
    ],
    ids=["not UTF-8", "both", "batch"],
)
def test_http_and_lines_say_the_same(raw: bytes, fault: str, code: int, status: int) -> None:
    """A client hears the same of an invalid frame by HTTP and by a line of TCP; the status of HTTP is its own."""
    with pytest.raises(Refused) as refused:
        FrameChecks(Limits(max_batch=2000)).check(raw, None)
    assert (refused.value.status, refused.value.code) == (status, code)
    assert str(refused.value).startswith(message_fault(fault))
    (by_line,) = sift(Frame(raw), "tcp", is_server=False).back
    assert b'"code":%d' % code in by_line.raw and message_fault(fault).encode() in by_line.raw
