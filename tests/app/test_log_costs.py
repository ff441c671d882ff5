"""Logging a stranger's text costs the event loop the same, whatever the text is."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import pytest

from relay.app.log.child_stderr import ChildStderr
from relay.app.log.client import ClientLog
from relay.app.log.frames import FrameLog
from relay.app.log.printable import printable, printable_bytes
from relay.app.log.setup import set_up_logging
from relay.app.log.stderr import StderrSink
from relay.app.secrets.text import mask_secrets, start_of
from relay.frames.frame import Frame

MOST = 0.25  # seconds of this thread: ten times what it takes, a fifth of what it took

SECRETS = [f"canary-{number}-aaaaaaaaaaaaaaaa" for number in range(20)]

# Each begins much that comes to nothing, for one search or another.
UNITS = (
    "token", '"token"', '"token":"x",', '"', '":', '\\"', '"a":', "&token", "&auth=", "?" + "key" * 21,
    "&" + "k" * 63 + "=",
    "\\u0026token", "://", "://a:", "://a:b@", "://" + "a" * 30 + ":" + "b" * 30 + " @", "Bearer ", "Bearer aaaaaaaaa ",
    "Basic 1234567a ", "sk-", "sk-aaaaaaaa ", "a-sk-1", "eyJaaaaaaaa.", "eyJaaaaaaaa ", "ghp_aaaaa ", "secret_aaaa ",
    "cookie ", "authorization", "client_assertion", '="@&?;:/', "a", "\x01", "a\x01", "\x85", "ä", "\n", "\udcff",
)  # fmt: skip


class Written(StderrSink):
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.pieces.append(data)

    @property
    def text(self) -> str:
        return b"".join(self.pieces).decode()


def thread_seconds(work: Callable[[], object]) -> float:
    """Return what it costs, at best of two: others run here too."""
    seconds = []
    for _ in range(2):
        began = time.thread_time()
        work()
        seconds.append(time.thread_time() - began)
    return min(seconds)


def filled(unit: str, size: int) -> str:
    return (unit * (size // len(unit) + 1))[:size]


def hostile_texts(size: int) -> list[str]:
    """Return each unit over and over; also as the name of a member that never ends, or ends in blanks."""
    texts = [filled(unit, size) for unit in UNITS]
    texts += ['"' + filled(unit, size // 2) + '"' + " " * (size // 2) for unit in ("token", "cookie", "a")]
    return [*texts, "sk-" + "a" * size, "eyJ" + "a" * size, '"' + "secret" * (size // 6), "://u:" + "x" * size]


def test_masking_is_linear() -> None:
    """64 KiB of whatever it may be: 8 KiB in quotes took 65 ms, and 64 times that for 64."""
    for text in hostile_texts(64 * 1024):
        shown = text.encode("utf-8", "backslashreplace")[:40]
        assert thread_seconds(lambda text=text: mask_secrets(text, SECRETS)) < MOST, shown  # type: ignore[misc]
        assert thread_seconds(lambda text=text: printable(text)) < MOST, shown  # type: ignore[misc]


@pytest.mark.parametrize(
    "unit", [b"\n", b"\xff", b"\xc3", b"\x01", b"a\x01", b"\r", b'"token', b"\xf0\x9f\x92", b"a\n"]
)
def test_a_second_of_a_childs_stderr_costs_little(unit: bytes) -> None:
    """All that one may say in it, 256 KiB: of empty lines alone that took 0.9 s."""
    stderr = ChildStderr("server", sink := Written(), SECRETS)
    data = (unit * 65536)[:65536]

    def second() -> None:
        stderr._refilled -= 1.0
        for _ in range(8):
            stderr.data_received(data)

    assert thread_seconds(second) < MOST
    assert sink.text.startswith("[server] ") and "bytes of stderr dropped" in sink.text


def test_noise_on_stdout_has_the_same_rate() -> None:
    """Lines that are no messages are shown beside stderr; more than fits a second is counted."""
    stderr = ChildStderr("server", sink := Written(), SECRETS)
    line = b'"token' * 2000

    def flood() -> None:
        for _ in range(2000):
            stderr.take_noise(line)

    assert thread_seconds(flood) < MOST
    assert len(sink.pieces) == 32, "256 KiB in lines of which 8 KiB are shown"
    stderr._refilled -= 1.0
    stderr.take_noise(b"after")
    assert sink.pieces[32:] == [f"[server] … {3968 * 12000} bytes of stderr dropped\n".encode(), b"[server] after\n"]
    short = ChildStderr("server", sink := Written())
    for _ in range(10_000):
        short.take_noise(b"x")
    assert len(sink.pieces) == 4096


def test_half_a_line_is_not_shown_after_a_flood() -> None:
    """Its first half was dropped, or shown and then cut: half a secret could not be told from other text."""
    stderr = ChildStderr("server", sink := Written(), ["canary-secret"])
    stderr.data_received(b"x" * 1023 + b"\n")
    stderr._budget = 10
    stderr.data_received(b"a\ncanary-se")
    stderr.data_received(b"cret and")
    stderr._refilled -= 1.0
    stderr.data_received(b" more\nb\n")
    text = sink.text
    assert "canary" not in text and "cret" not in text
    assert text.endswith("[server] a\n[server] … 17 bytes of stderr dropped\n[server] b\n"), text[-200:]


def test_a_long_line_is_not_cut_within_a_secret() -> None:
    """Its pieces end before one that goes over their end."""
    stderr = ChildStderr("server", sink := Written(), ["canary-secret"])
    stderr.data_received(b"x" * 8185 + b"canary-secret" + b"y" * 8192 + b"\n")
    text = sink.text
    assert "canary" not in text and "cret" not in text
    assert start_of("canary-secret" * 3, ["canary-secret"], 20) == "canary-secret"
    assert start_of("canary-secret", ["canary-secret"], 5) == "canar"  # nothing else could be shown at all


def test_a_record_is_bounded() -> None:
    """Whatever a peer has put into its error: 32 KiB of it are masked and shown, and how much there was."""
    sink = Written()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    set_up_logging(logging.DEBUG, SECRETS, sink)
    try:
        words = '"' + "token" * 200_000
        assert thread_seconds(lambda: logging.getLogger("relay").warning("%s", words)) < MOST
        frames = [Frame(words.encode())] * 100
        assert thread_seconds(lambda: FrameLog(SECRETS).show("a", "b", frames)) < MOST
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    for line in sink.pieces[:2]:
        assert len(line) < 33 * 1024 and line.endswith(b" characters)\n")


def test_what_a_record_says_to_a_client_is_bounded() -> None:
    """The same record, where ``--log-to client`` sends it."""
    said: list[Frame] = []

    class Client:
        is_held_back = False
        say = said.append

    log = ClientLog(Client(), SECRETS)  # type: ignore[arg-type]
    log._is_answered = log._is_initialized = True
    record = logging.LogRecord("relay", logging.ERROR, "", 0, '"' + "token" * 200_000, (), None)
    assert thread_seconds(lambda: log.take(record)) < MOST
    assert said and len(said[0].raw) < 8192


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"plain", "plain"),
        ("ä😀\u3042".encode(), "ä😀\u3042"),
        (b"a\xffb\xc3", "a\\xffb\\xc3"),
        (b"\x1b[31m\x07\r\tx\x7f", "\\x1b[31m\\x07\\x0d\tx\\x7f"),
        (b"one\ntwo", "one\n  two"),
        (b"one\n\x01two", "one\n  \\x01two"),
        ("\x85\x9b\xa0".encode(), "\\x85\\x9b\xa0"),
        ("\ufffe\U0010ffff\x01".encode(), "\ufffe\U0010ffff\\x01"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
    ],
)
def test_bytes_are_shown(data: bytes, shown: str) -> None:
    """Letters as they are; controls, and bytes that are no text, as a number."""
    assert printable_bytes(data) == shown


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('"token":"a" "b":"c"', '"token":"***" "b":"c"'),
        ('x "a token" : "s" y', 'x "a token" : "***" y'),
        ('"tokentoken":"s","toke":"t"', '"tokentoken":"***","toke":"t"'),
        ('"a":"b","My-Cookie":"s","c":"token"', '"a":"b","My-Cookie":"***","c":"token"'),
        ('"unended token', '"unended token'),
        ('"token" "token":"s"', '"token" "token":"***"'),
        ('"TOKEN":"\\\\","x":"y"', '"TOKEN":"***","x":"y"'),
        ('"X-Api-Key":"s","api_key":"s"', '"X-Api-Key":"***","api_key":"***"'),
    ],
)
def test_members_are_masked_as_before(text: str, masked: str) -> None:
    """By the first name that says it, up to the value's own end."""
    assert mask_secrets(text, ()) == masked
