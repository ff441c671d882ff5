"""`subprocess.Popen`, and `run`, of programs that a warm interpreter forks."""

from __future__ import annotations

import atexit
import functools
import inspect
import itertools
import marshal
import os
import platform
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests import peers

__all__ = ["Popen", "is_own", "run", "stand_in"]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

_OF_SDKS = ("tests.peers.running", "anyio._backends._asyncio", "h11", "uvicorn.protocols.http.h11_impl")
_OF_SDK_2 = ("mcp.server.subscriptions", "httpcore2", "truststore")
_MODULES = {
    Path(sys.executable): ("relay.*", "uvloop", "stringprep", "tests.e2e.fault_server"),
    peers.python("py1"): (*_OF_SDKS, "tests.peers.client_py1", "tests.peers.server_py1", "httpcore"),
    peers.python("py2"): (
        *_OF_SDKS,
        "tests.peers.client_py2",
        "tests.peers.server_py2",
        "mcp.server.subscriptions",
        "httpcore2",
        "truststore",
    ),
    peers.python("ws1"): (*_OF_SDKS, "tests.peers.lines_client", "tests.peers.lines_server", "httpcore"),
}
"""What the programs of each interpreter import."""
_READ_AT_START = ("PYTHON", "LC_", "LANG", "TZ", "AIOHTTP_", "OPENSSL_", "LD_")
"""Variables that an interpreter or a module reads once: an interpreter forks for those who want the same."""
_BEYOND_US = {"executable": None, "preexec_fn": None, "pass_fds": (), "shell": False, "gid": None, "gids": None,
              "uid": None, "umask": -1}  # fmt: skip
"""What `server.py` does not do, and the value by which nobody asks for it."""


class Forker:
    """A running `server.py` of one interpreter, for as long as this process lives."""

    all: dict[tuple[str, frozenset[tuple[str, str]]], Forker] = {}
    _starting = threading.Lock()
    _numbers = itertools.count()

    def __init__(self, interpreter: str, env: Mapping[str, str]) -> None:
        """Start it; it serves once it has imported what it should."""
        self.address = f"@relay-tests-{os.getpid()}-{next(self._numbers)}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(self.address.replace("@", "\0"))
            listener.listen(64)
            words = [interpreter, str(HERE / "server.py"), str(listener.fileno()), *_MODULES[Path(interpreter)]]
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, pass_fds=[listener.fileno()], cwd=ROOT, env=env
            )
        atexit.register(self._end)

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()

    @classmethod
    def of(cls, words: Sequence[object], env: Mapping[str, str]) -> Forker | None:
        """Return the one that can fork this program, or None if it must be executed."""
        is_program = len(words) > 2 and words[1] == "-m" or len(words) > 1 and str(words[1]).endswith(".py")
        if not (_is_usable() and is_program and Path(str(words[0])) in _MODULES):
            return None
        interpreter = str(words[0])
        key = interpreter, frozenset(one for one in env.items() if one[0].startswith(_READ_AT_START))
        with cls._starting:
            if key not in cls.all:
                cls.all[key] = cls(interpreter, env)
        return cls.all[key]


def is_own(process_id: int) -> bool:
    """Tell whether a child of this process is one of those that fork."""
    return any(one.process.pid == process_id for one in Forker.all.values())


@functools.cache
def _is_usable() -> bool:
    """Tell whether programs may be forked: not under coverage, which begins when a process starts."""
    is_known = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
    return is_known and not any(name in os.environ for name in ("RELAY_TESTS_EXEC", "COVERAGE_PROCESS_CONFIG"))


class Popen(subprocess.Popen[Any]):
    """A child of this process, forked where that shows nothing else than `subprocess.Popen` would."""

    def _execute_child(self, *given: Any) -> None:
        asked = inspect.signature(subprocess.Popen._execute_child).bind(self, *given).arguments  # type: ignore[attr-defined]
        words = asked["args"]
        env = os.environ if asked["env"] is None else asked["env"]
        is_plain = not isinstance(words, str) and all(asked[name] == value for name, value in _BEYOND_US.items())
        forker = Forker.of(words, env) if is_plain else None
        if forker is None:
            super()._execute_child(*given)  # type: ignore[misc]  # has no types
            return
        request = {
            "words": [os.fspath(word) for word in words[1:]],
            "env": dict(env),
            "cwd": os.path.abspath(asked["cwd"] or ""),
            "ours": True,
            "session": asked["start_new_session"],
            "group": asked["process_group"],
        }
        ends = (asked["p2cread"], asked["c2pwrite"], asked["errwrite"])
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
                connection.connect(forker.address.replace("@", "\0"))
                descriptors = [number if end == -1 else end for number, end in enumerate(ends)]
                socket.send_fds(connection, [marshal.dumps(request, 2)], descriptors)
                self.pid = int(connection.recv(64))
            self._child_created: bool = True
        finally:
            self._close_pipe_fds(*(asked[name] for name in _PIPES))  # type: ignore[attr-defined]


_PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")


def run(
    words: Sequence[str],
    *,
    input: Any = None,
    timeout: float | None = None,
    capture_output: bool = False,
    **options: Any,
) -> subprocess.CompletedProcess[Any]:
    """Do as `subprocess.run` does, without its ``check``."""
    if capture_output:
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if input is not None:
        options["stdin"] = subprocess.PIPE
    process = Popen(words, **options)
    with process:
        try:
            out, err = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def stand_in(words: Sequence[str]) -> list[str]:
    """Return the command of a program that has the program ``words`` forked and ends as it ends."""
    forker = Forker.of(words, os.environ)
    if forker is None:
        return list(words)
    return [sys.executable, "-I", "-S", str(HERE / "stand_in.py"), forker.address, *words[1:]]
