"""``make demo``: the relay before a small server, one visible call, and an orderly end, also when it goes wrong."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Iterator

import psutil
import pytest

from relay.demo import show as demo

ASYNCIO = pytest.mark.only_loop("asyncio")  # the demo runs on no other
ECHO = {"content": [{"type": "text", "text": "hello through two relays"}]}


def client(*answers: str, end: str = "sys.stdin.read()") -> list[str]:
    """Return the command of a stdio relay that says these lines, whatever it is asked, and then does as told."""
    return [sys.executable, "-S", "-c", f"import sys, time\nfor line in {answers!r}: print(line, flush=True)\n{end}"]


def answer(request_id: int, result: object) -> str:
    """Make an answer."""
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "result": result})


def test_the_demo_makes_its_call_and_ends() -> None:
    """What ``make demo ONCE=1`` runs: both lines to paste, the call and its answer, exit code 0."""
    command = [sys.executable, "-m", "relay.demo", "--once"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r'"url": "http://127\.0\.0\.1:\d+/mcp"', ended.stdout)
    assert re.search(r'"command": ".+", "args": \[.*"http://127\.0\.0\.1:\d+/mcp"\]', ended.stdout)
    assert re.search(r'-> \{.*"tools/call"', ended.stdout)
    assert re.search(r'<- \{.*"result":.*"text":"hello', ended.stdout)


@pytest.fixture
def staying() -> Iterator[subprocess.Popen[str]]:
    """Run the demo as ``make demo`` does, up to where it stays."""
    command = [sys.executable, "-m", "relay.demo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "until Ctrl-C" in line:
                break
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stays_until_it_is_told_to_end(staying: subprocess.Popen[str], number: int) -> None:
    """Ctrl-C: one word, exit code 0, and no process of it is left."""
    family = psutil.Process(staying.pid).children(recursive=True)
    assert family
    staying.send_signal(number)
    said, complained = staying.communicate(timeout=20)
    assert (staying.returncode, said.strip()) == (0, "demo: stopped"), complained
    assert "Traceback" not in complained
    assert psutil.wait_procs(family, timeout=5)[1] == []


def test_it_says_when_the_relay_ends_by_itself(staying: subprocess.Popen[str]) -> None:
    """One line with the exit code, and exit code 1."""
    psutil.Process(staying.pid).children()[0].kill()
    _, complained = staying.communicate(timeout=20)
    assert staying.returncode == 1
    assert complained.splitlines()[-1] == "demo: the relay ended by itself with exit code -9"


def test_a_failure_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """And exit code 1."""

    async def fail(*, port: int, once: bool) -> None:
        raise demo.DemoFailed(f"no luck at {port}, {once}")

    monkeypatch.setattr(demo, "run_demo", fail)
    assert demo.main(["--port", "80", "--once"]) == 1
    assert capsys.readouterr().err == "demo: no luck at 80, True\n"


@ASYNCIO
async def test_a_relay_that_does_not_listen(capsys: pytest.CaptureFixture[str]) -> None:
    """Its last words are passed on."""
    command = [sys.executable, "-S", "-c", "import sys; sys.stderr.write('first\\nno port for you\\n')"]
    async with demo.running(command, stderr=PIPE) as relay:
        with pytest.raises(demo.DemoFailed, match="ended before it listened; its last words: 'no port for you'"):
            await demo.listening_address(relay)
    assert capsys.readouterr().err == "first\nno port for you\n"


@ASYNCIO
@pytest.mark.parametrize(
    ("command", "said"),
    [
        (client("not json"), "the stdio relay wrote something else than JSON to its stdout"),
        (client(end="sys.exit(0)"), "the stdio relay closed its stdout before it answered initialize"),
        (client(answer(1, {}), answer(2, {"content": []})), "echo was answered with .*'content': \\[\\]"),
        (client(answer(1, {}), answer(2, ECHO), end="sys.stdin.read(); sys.exit(3)"), "ended with exit code 3"),
        (client(), "waited 0.5 s for the answer to initialize"),
    ],
)
async def test_what_can_go_wrong_with_the_call(
    command: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said in one line what did not come."""
    monkeypatch.setattr(demo, "ANSWER_TIMEOUT", 0.5 if command == client() else 10)
    with pytest.raises(demo.DemoFailed, match=said):
        await demo.call_once(command)
    assert "-> " in capsys.readouterr().out, "what was asked is shown"


@ASYNCIO
async def test_what_else_arrives_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Progress and logs come before the answer; a question under the same id is none."""
    notice, question = '{"jsonrpc":"2.0","method":"notifications/x"}', '{"jsonrpc":"2.0","id":1,"method":"ping"}'
    await demo.call_once(client(notice, question, answer(1, {}), answer(2, ECHO)))
    assert capsys.readouterr().out.count("  <- ") == 4


@ASYNCIO
async def test_a_child_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """After ``STOP_TIMEOUT``."""
    monkeypatch.setattr(demo, "STOP_TIMEOUT", 0.2)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    began = time.monotonic()
    async with demo.running([sys.executable, "-S", "-c", code], stdout=PIPE) as process:
        await demo.lines_of(process.stdout).readline()
    assert await asyncio.wait_for(process.wait(), 5) == -signal.SIGKILL
    assert time.monotonic() - began < 30
    process._transport.close()  # type: ignore[attr-defined]  # uvloop keeps the pipes' descriptors until then


def test_the_program_beside_this_interpreter_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none is installed, the module does."""
    assert demo.program()[0].endswith("mcp-relay")
    monkeypatch.setattr("relay.demo.show.shutil.which", lambda *_, **__: None)
    assert demo.program() == [sys.executable, "-m", "relay"]
