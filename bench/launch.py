"""Start a bridge with its far end, and stop both.

A `Stage` is one started bridge on one path, ready for load.
"""

import contextlib
import json
import os
import shlex
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import IO

from bench.bridges import Bridge, Way
from bench.cells import SOCKET_PATHS
from bench.install import home_of
from bench.load import CellFailed, Timing, run_load
from bench.logins import login_for
from bench.places import ROOT, without_folders
from bench.processes import Usage, kill_tree, read_usage
from bench.programs import COMPILED, Programs
from bench.sockets import connect, shake_hands, start_at_socket

FAR_END_SECONDS = 10.0  # for our own HTTP far end to listen


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


VALUES = (  # what a brace in the words of a bridge may be
    "port",
    "url",
    "home",
    "command_line",
    "config",
    "program",
    "arguments",
    "keys",
)


def check_ways(bridges: Sequence[Bridge]) -> None:
    """See that every brace in the words of bridges can be filled in. Raises SystemExit."""
    for bridge in bridges:
        for way in filter(None, bridge.ways().values()):
            for text in (*way.words, way.config):
                for _, name, _, _ in Formatter().parse(text):
                    if name is not None and name not in (*VALUES, *COMPILED, "command"):
                        raise SystemExit(f"bridge {bridge.name}: {{{name}}} is not one of {', '.join(VALUES)}")


@dataclass(slots=True)
class Stage:
    """A bridge that runs, and the load generator that fits its path."""

    process: subprocess.Popen[bytes]
    load_words: list[str]
    pass_fds: tuple[int, ...]
    log: Path
    started_ns: int

    def load(
        self, load: Mapping[str, str], timing: Timing, *, while_held: Callable[[], None] | None = None
    ) -> dict[str, float]:
        """Put a load on the bridge; a failure tells what the bridge said last, if it is gone."""
        try:
            return run_load(
                [*self.load_words, *(word for pair in load.items() for word in pair), *timing.options()],
                timing,
                pass_fds=self.pass_fds,
                is_gone=lambda: self.process.poll() is not None,
                while_held=while_held,
            )
        except CellFailed as failure:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=1)  # it may be ending just now
            if self.process.returncode is None:
                raise
            raise CellFailed(
                f"{failure}; the bridge exited with {self.process.returncode}: {self.last_words()}"
            ) from None

    def usage(self) -> Usage | None:
        """Return what the bridge holds and has used."""
        return read_usage(self.process.pid)

    def last_words(self) -> str:
        """Return the end of what the bridge wrote to stderr."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return without_folders(" / ".join(lines[-2:]))[-250:] or "(it said nothing)"


@dataclass(frozen=True, slots=True)
class Launcher:
    """Knows our programs; starts bridges."""

    programs: Programs

    def _fill(self, word: str, values: Mapping[str, str]) -> list[str]:
        name = word[1:-1]
        if word == "{command}":
            return list(self.programs.words["far_stdio"])
        if word[:1] == "{" and self.programs.has(name):
            return list(self.programs.words[name])
        return [word.format(**values)]

    def fill_words(
        self, bridge: Bridge, way: Way, *, port: int, url: str, folder: Path, keys: str = "http://127.0.0.1:0/"
    ) -> list[str]:
        """Return the command line of `bridge` with every brace filled in."""
        command = self.programs.words["far_stdio"]
        values = {
            "port": str(port),
            "url": url,
            "keys": keys,
            "home": str(home_of(bridge.name)),
            "command_line": shlex.join(command),
            "config": str(folder / "config.json"),
            "program": command[0],
            "arguments": json.dumps(command[1:]),
        }
        if way.config:
            (folder / "config.json").write_text(way.config.format(**values))
        return [filled for word in way.words for filled in self._fill(word, values)]

    @contextlib.contextmanager
    def _far_http(self, way: Way, path: str) -> Iterator[str]:
        mode = "stream" if way.far_transport == "sse" else "sse" if path == "connect-sse" else "json"
        port = free_port()
        process = subprocess.Popen([*self.programs.words["far_http"], str(port), mode], stdin=subprocess.DEVNULL)
        try:
            until = time.monotonic() + FAR_END_SECONDS
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                if time.monotonic() > until:
                    raise CellFailed("the far end did not start")
                time.sleep(0.01)
            yield f"http://127.0.0.1:{port}/{'sse' if mode == 'stream' else 'mcp'}"
        finally:
            process.kill()
            process.wait()

    @contextlib.contextmanager
    def stage(self, bridge: Bridge, path: str) -> Iterator[Stage]:
        """Start `bridge` on `path`; what was started is gone at the end."""
        way = bridge.find_way(path)
        assert way is not None, "whoever asks has looked"
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            has_url = path in ("hop", "connect-json", "connect-sse") and bridge.name != "direct"
            url = stack.enter_context(self._far_http(way, path)) if has_url else ""
            port = free_port()
            token, keys = stack.enter_context(login_for(way.login))
            words = self.fill_words(bridge, way, port=port, url=url, folder=folder, keys=keys)
            log = folder / "stderr"
            if path in SOCKET_PATHS:
                yield self._socket_stage(stack, bridge, path, words, port=port, log=log)
                return
            is_stdio = path.startswith("connect")
            pipe = subprocess.PIPE if is_stdio else subprocess.DEVNULL
            with log.open("wb") as errors:
                started_ns = time.monotonic_ns()
                process = _start(words, bridge, pipe, errors)
            stack.callback(_stop, process)
            yield self._stage(way, process, token, port=port, log=log, started_ns=started_ns)

    def _socket_stage(
        self, stack: contextlib.ExitStack, bridge: Bridge, path: str, words: list[str], *, port: int, log: Path
    ) -> Stage:
        """Start a bridge that listens at a socket; the load generator gets a connection to it."""
        way, started_ns = bridge.find_way(path), time.monotonic_ns()
        assert way is not None, "whoever asks has looked"
        if bridge.name == "direct":
            log.touch()
            process, client = start_at_socket(words, port)
            stack.callback(_stop, process)
        else:
            with log.open("wb") as errors:
                process = _start(words, bridge, subprocess.DEVNULL, errors)
            stack.callback(_stop, process)
            client = connect(port, lambda: process.poll() is not None)
        other = stack.enter_context(client.dup())  # epoll wants a descriptor for each direction
        stack.enter_context(client)
        if path == "websocket":
            shake_hands(client, port, way.endpoint)
        return self._line_stage(way, process, (client.fileno(), other.fileno()), path, log=log, started_ns=started_ns)

    def _stage(
        self, way: Way, process: subprocess.Popen[bytes], token: str, *, port: int, log: Path, started_ns: int
    ) -> Stage:
        if process.stdin is None or process.stdout is None:
            words = [*self.programs.words["load_http"], "--port", str(port), "--path", way.endpoint]
            words += ["--transport", way.transport, "--tool-prefix", way.tool_prefix]
            words += ["--bearer", token] if token else []
            return Stage(process, words, (), log, started_ns)
        ends = (process.stdout.fileno(), process.stdin.fileno())
        return self._line_stage(way, process, ends, "", log=log, started_ns=started_ns)

    def _line_stage(
        self,
        way: Way,
        process: subprocess.Popen[bytes],
        ends: tuple[int, int],
        path: str,
        *,
        log: Path,
        started_ns: int,
    ) -> Stage:
        words = [*self.programs.words["load_stdio"], "--read-fd", str(ends[0]), "--write-fd", str(ends[1])]
        words += ["--tool-prefix", way.tool_prefix]
        words += ["--framing", "websocket"] if path == "websocket" else []
        return Stage(process, words, ends, log, started_ns)


def _start(words: list[str], bridge: Bridge, pipe: int, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            words,
            cwd=ROOT,
            env={**os.environ, **bridge.environment},
            stdin=pipe,
            stdout=pipe,
            stderr=errors,
            bufsize=0,
        )
    except OSError as problem:
        raise CellFailed(f"cannot be started: {without_folders(str(problem))}") from None


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Kill the bridge and everything below it."""
    kill_tree(process.pid)
    process.wait()
    for end in (process.stdin, process.stdout):
        if end is not None:
            end.close()
