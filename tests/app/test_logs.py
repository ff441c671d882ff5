"""The log on stderr is bounded and escaped, shows no secrets, and never waits."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.app.log.child_stderr import ChildStderr
from relay.app.log.frames import FrameLog
from relay.app.log.reach import ReachLog
from relay.app.log.setup import set_up_logging
from relay.app.log.stderr import StderrSink, say
from relay.app.secrets.text import mask_secrets
from relay.endpoints.core.memory import memory_pair
from relay.frames import replies
from relay.frames.frame import Frame


class Written:
    """A sink that writes into a file, and what it has written."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("w+b", buffering=0)
        self.sink = StderrSink(self.file.fileno())
        self._read = 0

    def read(self) -> str:
        """Return what the sink has written since the last call."""
        self.sink.flush(5)
        data = os.pread(self.file.fileno(), 2**24, self._read)
        self._read += len(data)
        return data.decode()


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    """A sink that writes into a file."""
    made = Written(tmp_path / "stderr")
    with made.file:
        yield made


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """Give the root logger back as it was."""
    root = logging.getLogger()
    handlers, level, asyncio_level = root.handlers[:], root.level, logging.getLogger("asyncio").level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("asyncio").setLevel(asyncio_level)


def test_lines_are_written_in_order(written: Written) -> None:
    """By one thread, all of them, once."""
    for number in range(1000):
        written.sink.write(b"%d\n" % number)
    assert written.read() == "".join(f"{number}\n" for number in range(1000))


def test_a_stderr_that_nobody_reads_holds_nobody_up() -> None:
    """1 MiB is kept, the rest dropped and counted; writing takes no time; what was kept is written when one reads."""
    reading, writing = os.pipe()
    sink = StderrSink(writing)
    line = b"x" * 1023 + b"\n"
    began = time.monotonic()
    for _ in range(4096):
        sink.write(line)
    sink.flush(0.05)
    assert time.monotonic() - began < 20
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.extend(iter(lambda: os.read(reading, 2**20), b"")), daemon=True)
    reader.start()
    sink.flush(5)
    sink.write(b"last\n")
    sink.flush(5)
    os.close(writing)
    reader.join(5)
    os.close(reading)
    text = b"".join(found).decode()
    kept = text.count("x\n")
    assert 1000 <= kept <= 2500
    told = re.findall(r"mcp-relay: (\d+) bytes of log dropped: stderr was not read\n", text)
    assert sum(map(int, told)) == (4096 - kept) * 1024
    assert text.count("last\n") == 1


def test_a_stderr_that_is_gone_is_no_failure() -> None:
    """EPIPE is nobody's fault."""
    reading, writing = os.pipe()
    sink = StderrSink(writing)
    os.close(reading)
    for _ in range(2):
        sink.write(b"x")
        sink.flush(5)
    os.close(writing)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("nothing", "nothing"),
        ("a canary here", "a *** here"),
        ('{"Authorization": "Bearer x y", "b": "c"}', '{"Authorization": "***", "b": "c"}'),
        ('{"access_token":"a\\"b","x":1}', '{"access_token":"***","x":1}'),
        ('{"apiKey":"k","api_key":"k","api-key":"k"}', '{"apiKey":"***","api_key":"***","api-key":"***"}'),
        (
            '{"client_secret":"s","PASSWORD":"p","set-cookie":"c"}',
            '{"client_secret":"***","PASSWORD":"***","set-cookie":"***"}',
        ),
        ('{"code_verifier":"v","client_assertion":"a"}', '{"code_verifier":"***","client_assertion":"***"}'),
        ('{"token":"cut off he', '{"token":"***"'),
        ('{"token":"cut off\\', '{"token":"***"\\'),
        ('{"tokens":5,"text":"the token is"}', '{"tokens":5,"text":"the token is"}'),
        ("https://h/mcp?api_key=k1&page=2&sig=s%2F3#top", "https://h/mcp?api_key=***&page=2&sig=***#top"),
        ('{"url":"https://h/?a=1\\u0026X-Amz-Signature=k","b":"c"}', None),
        ("h/?authToken=k;code=k;password=k;jwt=k", "h/?authToken=***;code=***;password=***;jwt=***"),
        ("https://h/?page=two&keyword=x", "https://h/?page=two&keyword=x"),
        ("token=k, and why?", "token=k, and why?"),
        ("https://me:word@h/?token=k", "https://me:***@h/?token=***"),
        ("https://h:80/a@b", "https://h:80/a@b"),
    ],
)
def test_masking(text: str, masked: str | None) -> None:
    """Known secrets anywhere, and members and parameters that are named like secrets, also where a cut left half."""
    assert mask_secrets(text, ["canary"]) == (text.replace("=k", "=***") if masked is None else masked)


@pytest.mark.parametrize(
    "text", ["?" * 100_000 + "=", "&" + "token" * 20_000, "://" + "a" * 100_000 + "@", ("?sig" * 25_000) + "="]
)
def test_masking_takes_no_time(text: str) -> None:
    """A hostile line holds nobody up."""
    began = time.monotonic()
    assert mask_secrets(text, ()) == text
    assert time.monotonic() - began < 10


def test_the_log(written: Written, root_logger: logging.Logger) -> None:
    """Level, masking of the longest secret first, control characters escaped, forged lines indented."""
    set_up_logging(logging.INFO, ["canary", "canary-long", "abc"], written.sink)
    logger = logging.getLogger("relay")
    logger.debug("unseen")
    logger.info("%s and canary and abc", "canary-long")
    logger.warning("a\x1b[31mred\x07\r\n2026 ERROR forged \u0085")
    logging.getLogger("asyncio").info("unseen")
    first, second, third = written.read().splitlines()
    assert first.endswith(" INFO *** and *** and abc")
    assert second.endswith(" WARNING a\\x1b[31mred\\x07\\x0d")
    assert third == "  2026 ERROR forged \\x85"


def test_an_exception_is_masked_too(written: Written, root_logger: logging.Logger) -> None:
    """Tracebacks hold what was passed; lone surrogates are no failure."""
    set_up_logging(logging.ERROR, ["canary"], written.sink)
    try:
        raise ValueError("canary \udcff")
    except ValueError:
        logging.getLogger("relay").exception("failed")
    text = written.read()
    assert "ValueError: *** \\udcff" in text
    assert "canary" not in text


def test_a_log_call_that_cannot_be_formatted_is_no_failure(
    written: Written, root_logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """logging's own way: raise nothing."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    set_up_logging(logging.INFO, [], written.sink)
    logging.getLogger("relay").info("%d", "no number")
    assert written.read() == ""


def test_frames_are_shown_as_arrows(written: Written, root_logger: logging.Logger) -> None:
    """At DEBUG, cut to 2 KiB, never in the middle of a secret."""
    set_up_logging(logging.DEBUG, ["canary-secret"], written.sink)
    log = FrameLog(["canary-secret"])
    log.show(
        "memory a",
        "memory b",
        [Frame(b'{"id":1}'), Frame(b"x" * 2048), Frame(b"x" * 2049), Frame(b"y" * 2040 + b"canary-secret" * 2)],
    )
    first, second, third, fourth = written.read().splitlines()
    assert first.endswith('DEBUG memory a > memory b: {"id":1}')
    assert second.endswith("x" * 2048)
    assert third.endswith("x… (2049 bytes)")
    assert fourth.endswith("y" * 2040 + "… (2066 bytes)")
    logging.getLogger().setLevel(logging.INFO)
    log.show("memory a", "memory b", [Frame(b"{}")])
    assert written.read() == ""


def unreachable(request_id: int, cause: str, **more: object) -> Frame:
    return replies.error(request_id, replies.UNAVAILABLE, cause, delivered="no", **more)


def test_what_cannot_be_reached_is_said_once(written: Written, root_logger: logging.Logger) -> None:
    """Once for each cause, and again only when the server has answered in between."""
    client, server = memory_pair()
    set_up_logging(logging.WARNING, [], written.sink)
    log = ReachLog(server)
    log.look(client, server, [unreachable(0, "its own")])
    assert not log.is_unreached
    log.look(server, client, [unreachable(number, "refused") for number in range(3)])
    log.look(server, client, [unreachable(3, "no address"), unreachable(4, "refused")])
    assert log.is_unreached
    assert [line.split(" ", 2)[2] for line in written.read().splitlines()] == ["WARNING refused", "WARNING no address"]
    log.look(server, client, [Frame(b'{"jsonrpc":"2.0","id":5,"result":{}}'), unreachable(6, "refused")])
    assert not log.is_unreached, "it was reached once"
    assert written.read().count("refused") == 1


@pytest.mark.parametrize(
    "raw",
    [
        b'{"jsonrpc":"2.0","id":1,"result":{}}',
        replies.error(1, replies.UNAVAILABLE, "no room", floor=3).raw,
        b'{"jsonrpc":"2.0","id":1,"error":{"code":%d,"message":"m","data":"delivered"}}' % replies.UNAVAILABLE,
        b'{"jsonrpc":"2.0","method":"x","params":{"delivered":"no"}}',
        replies.error(1, replies.LOST, "m", delivered="unknown").raw,
        unreachable(1, "m", fill="x" * 16 * 1024).raw,
    ],
)
def test_what_a_server_says_shows_that_it_was_reached(
    raw: bytes, written: Written, root_logger: logging.Logger
) -> None:
    """Also an error under our own code for that, if it is not one of ours."""
    client, server = memory_pair()
    set_up_logging(logging.WARNING, [], written.sink)
    log = ReachLog(server)
    log.look(server, client, [Frame(raw)])
    assert not log.is_unreached
    assert written.read() == ""


def test_causes_without_end_are_bounded(written: Written, root_logger: logging.Logger) -> None:
    """A cause that names the request it fails."""
    client, server = memory_pair()
    set_up_logging(logging.WARNING, [], written.sink)
    ReachLog(server).look(server, client, [unreachable(number, f"{number}") for number in range(1000)])
    assert written.read().count("\n") == 64


def test_say_masks_what_a_url_holds(written: Written) -> None:
    """A mistake in a URL is shown, and kept by clients, with its secrets left out."""
    say(written.sink, "'http://me:word@/?token=k' is not a URL")
    assert written.read() == "mcp-relay: 'http://me:***@/?token=***' is not a URL\n"


def test_say_is_one_escaped_line(written: Written) -> None:
    """Whatever the message holds."""
    say(written.sink, "evil \x1b[2J \udc80")
    assert written.read() == "mcp-relay: evil \\x1b[2J \\udc80\n"


# -- children's stderr ------------------------------------------------------------------------------------------------


async def test_a_childs_stderr_is_shown_line_by_line(written: Written) -> None:
    """Named, escaped, masked; a last line without its newline at the end."""
    stderr = ChildStderr("server", written.sink, ["canary"])
    await stderr.open()
    stderr.data_received(b"one\ntwo canary\r\n\x1b[31mred\xff\nha")
    stderr.data_received(b"lf\nlast")
    assert written.read().splitlines() == [
        "[server] one",
        "[server] two ***",
        "[server] \\x1b[31mred\\xff",
        "[server] half",
    ]
    stderr.close()
    assert written.read() == "[server] last\n"


async def test_a_flood_is_read_and_dropped(written: Written) -> None:
    """256 KiB a second are shown, the rest is counted; nothing is kept."""
    stderr = ChildStderr("server", written.sink)
    await stderr.open()
    for _ in range(100):
        stderr.data_received((b"x" * 1023 + b"\n") * 64)
        written.read()
    stderr._refilled -= 1.0
    stderr.data_received(b"after\n")
    lines = written.read().splitlines()
    assert lines == [f"[server] … {100 * 65536 - 256 * 1024} bytes of stderr dropped", "[server] after"]
    stderr.close()


async def test_a_line_without_end_is_shown_in_pieces(written: Written) -> None:
    """8 KiB at a time."""
    stderr = ChildStderr("server", written.sink)
    await stderr.open()
    stderr.data_received(b"x" * 8193)
    assert written.read() == f"[server] {'x' * 8192}\n"
    stderr.close()


async def test_a_real_descriptor_reaches_the_sink(written: Written) -> None:
    """What is written to ``fd`` is shown."""
    stderr = ChildStderr("server", written.sink)
    await stderr.open()
    os.write(stderr.fd, b"hello\n")
    text = ""
    async with asyncio.timeout(20):
        while not text:
            await asyncio.sleep(0.01)
            text = written.read()
    assert text == "[server] hello\n"
    stderr.close()


def test_closing_what_was_never_opened() -> None:
    """A listener whose start failed."""
    ChildStderr("server", StderrSink()).close()
