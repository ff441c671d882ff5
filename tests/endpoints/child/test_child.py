"""A child process as an endpoint: small real children that behave, misbehave and die."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from relay.endpoints.child import child as child_module
from relay.endpoints.child import program as program_module
from relay.endpoints.child.child import Child, child_environment, resolve_program
from relay.endpoints.child.guardian import Guardian
from relay.errors import ConfigError, EndpointBroken, EndpointUnavailable
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import Kind
from relay.limits import Limits
from relay.testing import Capabilities, Pair, check_endpoint, joined
from relay.testing.pair import of_size, request, take
from tests.endpoints.socket.byte_far import ByteFar

QUICK = Limits(close_grace=0.2)

ECHO = "import sys\nfor line in sys.stdin.buffer:\n  sys.stdout.buffer.write(line)\n  sys.stdout.buffer.flush()"

# Joins its stdin and stdout to two sockets of the test's, and ends when both directions have.
JOINT = """
import os, socket, sys, threading
up, down = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
up.connect(sys.argv[1]); down.connect(sys.argv[1])
def outwards():
    while data := os.read(0, 65536):
        up.sendall(data)
    up.shutdown(socket.SHUT_WR)
thread = threading.Thread(target=outwards)
thread.start()
while data := down.recv(65536):
    while data:
        data = data[os.write(1, data):]
os.close(1)
thread.join()
"""


def python(code: str, *words: str) -> list[str]:
    """Return the command of a Python child that starts fast."""
    return [sys.executable, "-I", "-S", "-c", code, *words]


@contextlib.asynccontextmanager
async def running(code: str, *words: str, limits: Limits = QUICK, **kwargs: Any) -> AsyncIterator[Child]:
    """Run a child for the length of the block."""
    child = await Child.start(python(code, *words), name="server", limits=limits, **kwargs)
    try:
        yield child
    finally:
        await child.aclose()


async def all_of(child: Child) -> list[Frame]:
    """Receive to the end."""
    return await take(child, 10**9)


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for what has no event."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def is_running(pid: int) -> bool:
    """Tell whether a process lives and is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextlib.asynccontextmanager
async def make_pair(limits: Limits) -> AsyncIterator[Pair]:
    """Start a real child that is the test's hand at the other end of two pipes."""
    loop = asyncio.get_running_loop()
    path = f"\0mcp-relay test {os.getpid()} {time.monotonic_ns()}" if sys.platform == "linux" else ""
    listener = socket.socket(socket.AF_UNIX)
    with listener:
        listener.bind(path)
        listener.listen()
        listener.setblocking(False)
        joint = JOINT.replace("sys.argv[1]", "'\\0' + sys.argv[1]")
        child = await Child.start(python(joint, path[1:]), limits=dataclasses.replace(limits, close_grace=0.1))
        up, _ = await loop.sock_accept(listener)
        down, _ = await loop.sock_accept(listener)
    far = await ByteFar.open(up.detach(), down.detach(), limits, lambda: os.kill(child.pid, signal.SIGKILL))
    async with joined(child, far) as pair:
        yield pair


@pytest.mark.async_timeout(60)
@pytest.mark.skipif(sys.platform != "linux", reason="the test's hand in the child is an abstract socket")
async def test_child() -> None:
    """Every law of an endpoint, with a real process."""
    await check_endpoint(make_pair, Capabilities(vanishing_breaks=True, most_buffered=2 * 2**20))


# -- what it writes ---------------------------------------------------------------------------------------------------


async def test_noise_is_skipped_counted_and_shown() -> None:
    """Lines that are no JSON-RPC go to ``on_noise`` as they are, in order; the frames among them arrive."""
    lines = [
        b"starting...",
        b'{"id":1,"result":{}}',
        b"42",
        b'{"level":"info"}',
        b"\xff\xfe\0",
        b'{"method":"x"}',
        b"[]",
    ]
    shown: list[bytes] = []
    code = "import sys; sys.stdout.buffer.write(bytes.fromhex(sys.argv[1]))"
    async with running(code, b"\n".join([*lines, b"", b""]).hex(), on_noise=shown.append) as child:
        frames = await all_of(child)
        assert [frame.raw for frame in frames] == [lines[1], lines[5]]
        assert shown == [lines[0], lines[2], lines[3], lines[4], lines[6]]
        assert child.noise == 5


@pytest.mark.parametrize(
    "rest", ['"result":{"value":NaN}}', '"result":{"text":"cut sh', '"resu', '"error', '"', "", " }}", '"id":5}]']
)
async def test_an_answer_that_is_no_json_fails_its_request(rest: str) -> None:
    """Its id can be read, so whoever waits for it is told, and the child's other work goes on."""
    lines = f'{{"jsonrpc":"2.0","id":5,{rest}\n{{"id":6,"result":{{}}}}\n'.encode()
    shown: list[bytes] = []
    async with running(f"import os; os.write(1, {lines!r})", on_noise=shown.append) as child:
        failed, answered = await take(child, 2)
        assert answered.head.id == 6
        error = json.loads(failed.raw)
        assert (error["id"], error["error"]["code"], error["error"]["data"]) == (5, -32001, {"delivered": "unknown"})
        assert "server: its answer is not a JSON-RPC message" in error["error"]["message"]
    assert shown == [lines.splitlines()[0]]


@pytest.mark.parametrize(
    "line",
    ['{"jsonrpc":"2.0","id":5', '{"jsonrpc":"2.0","id":5,"meth', '{"id":5,', '{"jsonrpc":"2.0","id":5,"level":"'],
)
async def test_half_a_line_that_may_be_no_answer_fails_no_request(line: str) -> None:
    """Its id may be cut short, it may be a request, or no JSON-RPC at all."""
    lines = f'{line}\n{{"id":6,"result":{{}}}}\n'.encode()
    async with running(f"import os; os.write(1, {lines!r})") as child:
        assert [frame.head.id for frame in await all_of(child)] == [6]
        assert child.noise == 1


async def test_noise_without_anybody_to_show_it_to() -> None:
    """It is counted all the same."""
    async with running("print('hello'); print('{\"method\":\"x\"}')") as child:
        assert len(await all_of(child)) == 1
        assert child.noise == 1


async def test_a_flood_of_stderr_does_not_disturb() -> None:
    """100 MB of stderr to a drained descriptor, and every answer arrives."""
    code = "import os, sys\nfor _ in range(1600): os.write(2, b'x' * 65535 + b'\\n')\n" + ECHO
    with open(os.devnull, "wb") as null:
        async with running(code, stderr=null.fileno()) as child:
            await child.send([request(number) for number in range(100)])
            assert [frame.head.id for frame in await take(child, 100)] == list(range(100))


async def test_a_line_without_end_costs_no_memory() -> None:
    """200 MB without a newline with the default limit of 64 MiB lowered to 1: the relay holds none of it."""
    code = "import os\nfor _ in range(200): os.write(1, b'x' * 2**20)\nos.write(1, b'\\n{\"id\":2,\"result\":{}}\\n')"
    before = psutil.Process().memory_info().rss
    async with running(code, limits=Limits(max_frame_bytes=2**20, close_grace=0.2)) as child:
        peak = 0
        receiving = asyncio.timeout(20)
        async with receiving, asyncio.TaskGroup() as group:
            frames = group.create_task(all_of(child))
            while not frames.done():
                peak = max(peak, psutil.Process().memory_info().rss)
                await asyncio.sleep(0.01)
    assert [frame.head.id for frame in frames.result()] == [2]
    assert peak - before < 32 * 2**20


async def test_an_answer_too_large_becomes_an_error_with_its_id() -> None:
    """One for each id, in either member order; a request of the server's that is too large is refused to it."""
    code = """
import os, sys, json
pad = "x" * 9000
say = lambda message: os.write(1, json.dumps(message).encode() + b"\\n")
say({"jsonrpc": "2.0", "id": 1, "result": {"p": pad}})
say({"result": {"p": pad}, "jsonrpc": "2.0", "id": "two"})
say({"jsonrpc": "2.0", "id": "s-3", "method": "sampling/createMessage", "params": {"p": pad}})
say({"method": "notifications/message", "params": {"p": pad}})
os.write(1, b"x" * 9000 + b"\\n")
say({"id": 4, "result": {}})
sys.stdout.buffer.write(b'{"method":"got","params":' + sys.stdin.buffer.readline().strip() + b'}\\n')
"""
    async with running(code, limits=Limits(max_frame_bytes=5000, close_grace=0.2)) as child:
        frames = await all_of(child)
    assert [frame.head.id for frame in frames] == [1, "two", 4, None]
    for frame in frames[:2]:
        error = json.loads(frame.raw)["error"]
        assert (error["code"], error["data"]) == (replies.TOO_LARGE, {"delivered": "unknown"})
        assert "bytes; --max-frame-bytes is 5000" in error["message"], "the option is named"
        assert frame.belongs_to is None
    refusal = json.loads(frames[3].raw)["params"]
    assert (refusal["id"], refusal["error"]["code"], refusal["error"]["data"]) == (
        "s-3",
        replies.TOO_LARGE,
        {"delivered": "no"},
    )


async def test_frames_of_16_mib_pass_both_ways() -> None:
    """Byte for byte, with a small one behind."""
    large = of_size(1, 16 * 2**20)
    async with running(ECHO) as child, asyncio.TaskGroup() as group:
        receiving = group.create_task(take(child, 2))
        await child.send([large, request(2)])
    first, second = receiving.result()
    assert first.raw == large.raw
    assert second.raw == request(2).raw


@pytest.mark.parametrize("status", [0, 3])
async def test_a_child_that_exits_after_writing_much_loses_none_of_it(status: int) -> None:
    """20 MB and an exit; a receiver that takes longer than the exit gets every frame, then the end."""
    code = f"""
import os
line = b'{{"method":"x","params":"' + b"x" * 9970 + b'"}}\\n'
data = line * 2000
while data: data = data[os.write(1, data):]
os._exit({status})
"""
    async with running(code) as child:
        count = 0
        await asyncio.sleep(0.7)  # longer than the moment between the two signs of an end
        try:
            while frames := await child.receive():
                count += len(frames)
                if count < 200:
                    await asyncio.sleep(0.15)
            assert status == 0
        except EndpointBroken as exc:
            assert str(exc) == "server: exited with status 3"
            assert status == 3
        assert count == 2000


async def test_a_last_line_without_newline_is_a_frame() -> None:
    """If the child ended in order."""
    async with running('import os; os.write(1, b\'{"method":"x"}\')') as child:
        assert [frame.raw for frame in await all_of(child)] == [b'{"method":"x"}']


# -- how it ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("os._exit(1)", "server: exited with status 1"),
        ("os._exit(127)", "server: exited with status 127"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "server: was killed by SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "server: was killed by SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGRTMIN + 2)", "server: was killed by signal 36"),
    ],
)
async def test_the_reason_names_status_or_signal(end: str, reason: str) -> None:
    """What was complete is received, half a line discarded, then EndpointBroken within a second."""
    code = f'import os, signal; os.write(1, b\'{{"id":1,"result":{{}}}}\\n{{"id":2,"resu\'); {end}'
    async with running(code) as child:
        assert [frame.head.id for frame in await take(child, 1)] == [1]
        async with asyncio.timeout(10):
            for _ in range(2):
                with pytest.raises(EndpointBroken) as caught:
                    await child.receive()
                assert str(caught.value) == reason


async def test_kill_in_the_middle_of_a_line() -> None:
    """kill -9 with half an answer written: the half is discarded, the reason says SIGKILL, within a second."""
    async with running('import os, time; os.write(1, b\'{"method":"x"}\\n{"id":1,\'); time.sleep(60)') as child:
        assert len(await take(child, 1)) == 1
        began = time.monotonic()
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(EndpointBroken, match="server: was killed by SIGKILL"):
            await child.receive()
        assert time.monotonic() - began < 10
        assert not child.is_alive
        with pytest.raises(EndpointBroken):
            await child.send([request(1)])


async def test_a_child_that_closes_stdout_and_lives_has_finished() -> None:
    """``()`` within a second; closing ends it."""
    async with running("import os, time; os.close(1); time.sleep(60)") as child:
        async with asyncio.timeout(10):
            assert len(await child.receive()) == 0
        assert child.is_alive
    assert not child.is_alive


async def test_a_child_that_closes_stdin_and_lives_is_broken() -> None:
    """Within a second, though nothing is sent to it: what was sent may lie unread in the pipe."""
    code = "import os, time; os.read(0, 1); os.close(0); time.sleep(60)"
    async with running(code) as child:
        await child.send([request(1)])
        async with asyncio.timeout(10):
            with pytest.raises(EndpointBroken, match="server: closed its stdin"):
                await child.receive()
        assert child.is_alive
        assert child.own_end == "closed its stdin"
        with pytest.raises(EndpointBroken):
            await child.send([request(2)])
    assert not child.is_alive


async def test_what_a_child_says_after_it_has_closed_stdin_is_received() -> None:
    """As long as it goes on; then comes its exit, which is no failure."""
    code = """
import os, time
os.close(0)
for number in range(6):
    time.sleep(0.2); os.write(1, b'{"id":%d,"result":{}}\\n' % number)
"""
    async with running(code) as child:
        assert [frame.head.id for frame in await all_of(child)] == list(range(6))


async def test_a_grandchild_that_holds_stdout_does_not_hide_the_end() -> None:
    """The child exits, its own child keeps the pipe open: the end is seen all the same, the grandchild ended."""
    code = """
import os, time
if os.fork() == 0:
    time.sleep(60)
os.write(1, b'{"method":"x"}\\n'); os._exit(4)
"""
    async with running(code) as child:
        assert len(await take(child, 1)) == 1
        async with asyncio.timeout(10):
            with pytest.raises(EndpointBroken, match="exited with status 4"):
                await child.receive()


async def test_what_was_written_before_the_end_is_read_however_slowly_it_comes() -> None:
    """The child exits and its own child, which has its stdout, writes on for a second: that much is received."""
    code = """
import os, time
if os.fork():
    os._exit(0)
for number in range(6):
    os.write(1, b'{"id":%d,"result":{}}\\n' % number); time.sleep(0.2)
"""
    async with running(code) as child:
        assert [frame.head.id for frame in await all_of(child)] == list(range(6))


async def test_where_no_guardian_can_be_had(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The child is started all the same, with a warning, and ended as ever."""

    def fail(*_: object, **__: object) -> None:
        raise OSError("no shell")

    monkeypatch.setattr(Guardian, "__init__", fail)
    child = await Child.start(python(ECHO), name="server", limits=QUICK)
    monkeypatch.undo()
    await child.send([request(1)])
    assert [frame.head.id for frame in await take(child, 1)] == [1]
    await child.aclose()
    assert not is_running(child.pid)
    assert [one.getMessage() for one in caplog.records if "guardian" in one.getMessage()] == [
        "no guardian: children may outlive a relay that is killed: no shell"
    ]


async def test_after_eof_it_answers_what_is_in_flight() -> None:
    """Half-close: its stdin ends, late answers arrive, and its status is no failure any more."""
    code = "import sys; data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data); sys.stdout.flush(); sys.exit(9)"
    async with running(code) as child:
        await child.send([request(1), request(2)])
        await child.send_eof()
        assert [frame.head.id for frame in await all_of(child)] == [1, 2]


async def test_a_child_that_ignores_everything_is_killed() -> None:
    """EOF, then SIGTERM, then SIGKILL, ``close_grace`` apart."""
    code = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        'os.write(1, b\'{"method":"x"}\\n\'); [time.sleep(1) for _ in range(60)]'
    )
    async with running(code) as child:
        await take(child, 1)
        began = time.monotonic()
        await child.aclose()
        assert 0.4 <= time.monotonic() - began < 10
        assert not is_running(child.pid)


async def test_a_child_that_floods_while_it_is_closed_does_not_block() -> None:
    """It is read on and dropped, so that it can see the end of its stdin."""
    code = 'import os, select\nwhile not select.select([0], [], [], 0)[0]: os.write(1, b\'{"method":"x"}\\n\' * 1000)'
    async with running(code, limits=Limits(close_grace=5)) as child:
        await child.receive()
        await until(lambda: child._reader.inbox.is_paused)
        began = time.monotonic()
        await child.aclose()
        assert time.monotonic() - began < 4


async def test_grandchildren_end_with_it() -> None:
    """A whole group is gone after ``aclose``: also who ignores SIGTERM, and who outlived the child."""
    code = """
import os, signal, time
pids = []
for ignores in (False, True):
    pid = os.fork()
    if pid == 0:
        if ignores: signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.close(1)
        while True: time.sleep(1)
    pids.append(pid)
time.sleep(0.1)
os.write(1, b'{"method":"x","params":%s}\\n' % str(pids).encode())
os.read(0, 1)
"""
    async with running(code) as child:
        (frame,) = await take(child, 1)
        grandchildren: list[int] = json.loads(frame.raw)["params"]
        assert all(is_running(pid) for pid in grandchildren)
        await child.aclose()
        await until(lambda: not any(is_running(pid) for pid in grandchildren))


async def test_a_cancelled_close_kills_at_once() -> None:
    """A second Ctrl-C: nothing of the group is left, and nothing of ours."""
    code = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, b'{"method":"x"}\\n')
time.sleep(60)
"""
    child = await Child.start(python(code), limits=Limits(close_grace=30))
    assert len(await take(child, 1)) == 1
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await child.aclose()
    await until(lambda: not is_running(child.pid))
    await child.aclose()


async def test_many_children_leave_nothing() -> None:
    """Twenty at once, started and closed: no process, zombie or descriptor (the leak check looks)."""

    async def one(number: int) -> None:
        async with running(ECHO) as child:
            await child.send([request(number)])
            assert [frame.head.id for frame in await take(child, 1)] == [number]

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(one(number))
    assert Guardian._shared is None


# -- how it starts ----------------------------------------------------------------------------------------------------


async def test_it_gets_the_environment_and_directory_it_was_given(tmp_path: Path) -> None:
    """Its whole environment is ``env``; its directory ``cwd``; its arguments are never seen by a shell."""
    code = """
import json, os, sys
facts = [dict(os.environ), os.getcwd(), sys.argv[1:], os.getpgid(0) == os.getpid()]
print(json.dumps({"method": "x", "params": facts}))
"""
    words = ["$HOME; rm *", "", "a b", "ä"]
    async with running(code, *words, env={"A": "b", "LC_ALL": "C.UTF-8"}, cwd=str(tmp_path)) as child:
        (frame,) = await all_of(child)
    environment, cwd, arguments, leads_a_group = json.loads(frame.raw)["params"]
    environment.pop("LC_CTYPE", None)  # Python's own
    assert environment == {"A": "b", "LC_ALL": "C.UTF-8"}
    assert (cwd, arguments, leads_a_group) == (str(tmp_path.resolve()), words, True)


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are numbers")
async def test_it_has_pipes_and_no_descriptor_of_ours() -> None:
    """stdin and stdout are pipes, stderr is what was given; beyond 2 there is nothing, whatever is open here."""
    code = """
import json, os, stat
def what(fd):
    try:
        return stat.S_IFMT(os.fstat(fd).st_mode)
    except OSError:
        return None
print(json.dumps({"method": "x", "params": [what(fd) for fd in range(256)]}))
"""
    async with running(ECHO) as other, running(ECHO):
        with open(os.devnull, "wb") as null, open(os.devnull, "rb") as ours:
            os.set_inheritable(ours.fileno(), True)
            async with running(code, stderr=null.fileno()) as child:
                (frame,) = await all_of(child)
        assert other.is_alive
    assert json.loads(frame.raw)["params"] == [stat.S_IFIFO, stat.S_IFIFO, stat.S_IFCHR, *[None] * 253]


async def test_a_shell_may_write_to_dev_stdout() -> None:
    """As people do in servers of ten lines: a socket could not be opened."""
    script = """while read -r line; do echo "$line" > /dev/stdout; done"""
    child = await Child.start(["/bin/sh", "-c", script], limits=QUICK)
    try:
        await child.send([request(1), request(2)])
        assert [frame.head.id for frame in await take(child, 2)] == [1, 2]
    finally:
        await child.aclose()


async def test_the_exit_is_seen_without_process_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS has none, some sandboxes forbid them: a thread waits."""
    monkeypatch.setattr(program_module, "_process_descriptor", lambda pid: None)
    async with running("import os; os.close(1); os.read(0, 1); os._exit(3)") as child:
        await child.send([request(1)])
        with pytest.raises(EndpointBroken, match="exited with status 3"):
            await child.receive()
    async with running(ECHO) as child:
        await child.send([request(1)])
        assert [frame.head.id for frame in await take(child, 1)] == [1]
    assert not is_running(child.pid)


@pytest.mark.parametrize("turns", range(6))
async def test_a_start_that_is_cancelled_leaves_nothing(turns: int) -> None:
    """Wherever it is: no process and no descriptor (the leak check looks)."""
    starting = asyncio.get_running_loop().create_task(Child.start(python(ECHO), limits=QUICK))
    for _ in range(turns):
        await asyncio.sleep(0)
    starting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await (await starting).aclose()


async def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    """Missing: the operator's mistake; there but not startable: unavailable. Nothing is left either way."""
    with pytest.raises(ConfigError, match="command 'no-such-program' was not found"):
        await Child.start(["no-such-program"])
    broken = tmp_path / "broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    with pytest.raises(EndpointUnavailable, match="broken: cannot be started"):
        await Child.start([str(broken)])


BASE = {
    "HOME": "h",
    "LOGNAME": "l",
    "PATH": "p",
    "SHELL": "() { evil; }",
    "TERM": "t",
    "LANG": "de",
    "SECRET": "s",
    "LD_PRELOAD": "x",
    "API_ACCESS_TOKEN": "canary",
    "PROXY_TOKEN": "canary",
    "MCP_RELAY_ANYTHING": "canary",
    "NOTIFY_SOCKET": "n",
    "LISTEN_FDS": "1",
}


def test_the_environment_is_the_sdks_short_list() -> None:
    """HOME LOGNAME PATH SHELL TERM USER where they are set; no shell functions; what the operator named."""
    assert child_environment(base=BASE) == {"HOME": "h", "LOGNAME": "l", "PATH": "p", "TERM": "t"}
    assert child_environment({"PATH": "q", "API_ACCESS_TOKEN": "mine"}, base=BASE) == {
        "HOME": "h",
        "LOGNAME": "l",
        "PATH": "q",
        "TERM": "t",
        "API_ACCESS_TOKEN": "mine",
    }
    assert child_environment()["PATH"] == os.environ["PATH"]


def test_the_whole_environment_is_without_our_own() -> None:
    """``--pass-environment`` hands on everything that does not speak to the relay itself."""
    passed = child_environment({"E": "e"}, pass_all=True, base=BASE)
    assert passed == {
        "HOME": "h",
        "LOGNAME": "l",
        "PATH": "p",
        "SHELL": "() { evil; }",
        "TERM": "t",
        "LANG": "de",
        "SECRET": "s",
        "LD_PRELOAD": "x",
        "E": "e",
    }
    assert "canary" not in passed.values()


def test_the_windows_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows programs need other variables."""
    monkeypatch.setattr(child_module, "_WINDOWS", True)
    base = {"APPDATA": "a", "PATHEXT": ".exe", "SYSTEMROOT": "s", "HOME": "h"}
    assert child_environment(base=base) == {"APPDATA": "a", "PATHEXT": ".exe", "SYSTEMROOT": "s"}


def test_the_program_is_found_on_the_childs_path(tmp_path: Path) -> None:
    """By name on the PATH it gets; by path as it is, below ``cwd`` if relative; the result is absolute."""
    program = tmp_path / "bin" / "server"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert resolve_program(["server", "-x"], {"PATH": str(program.parent)}) == [str(program), "-x"]
    assert resolve_program([str(program)], {}) == [str(program)]
    assert resolve_program(["bin/server"], {}, str(tmp_path)) == [str(program)]
    assert os.path.isabs(resolve_program([os.path.relpath(program)], {})[0])


@pytest.mark.parametrize(
    ("command", "cwd", "message"),
    [
        ([], None, "no command given"),
        ([""], None, "no command given"),
        (["no-such"], None, "command 'no-such' was not found or cannot be run; give its full path, or add it to PATH"),
        (["/no/such"], None, "command '/no/such' was not found"),
        (["./README.md"], None, "command './README.md' was not found or cannot be run"),
        (["npx -y some-server"], None, "if it is 3 words, write it without quotes around them all"),
        (["sh"], "/no/such/dir", "working directory '/no/such/dir' does not exist"),
        (["sh"], sys.executable, f"working directory {sys.executable!r} is not a directory"),
    ],
)
def test_a_command_that_is_none(command: list[str], cwd: str | None, message: str) -> None:
    """A ConfigError that says what to do."""
    with pytest.raises(ConfigError) as caught:
        resolve_program(command, {"PATH": "/bin:/usr/bin"}, cwd)
    assert message in str(caught.value)


@pytest.mark.parametrize("suffix", [".cmd", ".BAT"])
@pytest.mark.parametrize("character", list('&|<>^%"!'))
def test_a_batch_files_arguments_hold_no_operators(tmp_path: Path, suffix: str, character: str) -> None:
    """cmd.exe parses them again (X-08); any other program may get anything."""
    program = tmp_path / f"npx{suffix}"
    program.write_text("")
    program.chmod(0o755)
    assert resolve_program([str(program), "-y", "a b", "(c)"], {}) == [str(program), "-y", "a b", "(c)"]
    with pytest.raises(ConfigError, match="a batch file's arguments must not contain"):
        resolve_program([str(program), f"a{character}b"], {})
    other = program.rename(tmp_path / "npx")
    assert resolve_program([str(other), f"a{character}b"], {}) == [str(other), f"a{character}b"]


async def test_what_a_child_writes_before_start_returns_is_read() -> None:
    """A child that writes at once, more than the limit, and exits: nothing of it is missed."""
    code = 'import os; os.write(1, b\'{"id":1,"result":"\' + b\'x\' * 2000 + b\'"}\\n{"method":"x"}\\n\')'
    for _ in range(10):
        async with running(code, limits=Limits(max_frame_bytes=1000, buffer_high=10, buffer_low=5)) as child:
            assert [frame.head.kind for frame in await all_of(child)] == [Kind.RESPONSE, Kind.NOTIFICATION]


# -- a slow start -----------------------------------------------------------------------------------------------------

SLOW = """
import sys
for _ in range(2): sys.stdin.readline()
print('{"method": "x"}', flush=True)
sys.stdin.readline()
"""


async def test_a_child_that_is_slow_to_start_is_told_of_until_it_answers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """From the first message on: a spare child without a client starts nothing that anybody waits for."""
    monkeypatch.setattr(child_module, "_STARTING", 0.02)
    child = await Child.start([sys.executable, "-S", "-c", SLOW])
    try:
        await asyncio.sleep(0.05)
        assert not child.is_starting and "still starting" not in caplog.text
        await child.send([Frame(b'{"jsonrpc":"2.0","id":1,"method":"initialize"}')])
        assert child.is_starting
        async with asyncio.timeout(10):
            while "still starting" not in caplog.text:
                await asyncio.sleep(0.01)
        assert "it has not answered its first message yet" in caplog.text
        await child.send([Frame(b'{"jsonrpc":"2.0","method":"x"}')])
        await child.receive()
        assert not child.is_starting
        caplog.clear()
        await asyncio.sleep(0.1)
        assert not caplog.text
    finally:
        await child.aclose()
