"""Start a program with a pipe to its stdin and a pipe from its stdout.

This module makes the pipes, because uvloop's have three faults. uvloop gives its children socket pairs, and a child
cannot open ``/dev/stdout`` over one. uvloop does not see their end. And it keeps copies of descriptors 0 to 2 open
after the child has closed them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import IO, Any, Protocol, cast

from relay.endpoints.child.pipe_reader import PipeReader
from relay.endpoints.core.byte_stream import FrameReader

__all__ = ["Program", "running_processes", "start_program"]

running_processes: dict[int, Callable[[], object]] = {}
"""The processes that this relay started and that have not ended yet, each with a function that polls it."""


class Program(Protocol):
    """A running program: its process, and our ends of its pipes."""

    @property
    def pid(self) -> int:
        """The id of the process, and of the process group that it leads."""

    @property
    def status(self) -> int | None:
        """The exit status, or the negated number of the signal that ended the process; None while it runs."""

    def terminate(self) -> None:
        """Ask the process to end."""

    def kill(self) -> None:
        """Kill the process."""

    def close(self) -> None:
        """Stop reading, and kill the process if it still runs; the writer closes the other pipe."""


async def start_program(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | None,
    stderr: int | None,
    reader: FrameReader,
    writer: asyncio.BaseProtocol,
    on_exit: Callable[[], None],
) -> Program:
    """Start a program in a process group of its own; ``reader`` gets its output, and ``writer`` its input.

    The program inherits no descriptors except the two pipes and ``stderr`` (None: the relay's stderr). ``on_exit`` is
    called when the process ends. Raises OSError if the program cannot start.
    """
    if sys.platform == "win32":
        return await _start_on_windows(argv, env, cwd, stderr, _Callbacks(reader, writer, on_exit))
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
        its_stdin, stdin = map(os.fdopen, os.pipe(), ("rb", "wb"), (0, 0))
        theirs.enter_context(its_stdin)
        to_it = await _connect(loop.connect_write_pipe, writer, stdin)
        ours.callback(to_it.abort)
        stdout, its_stdout = map(os.fdopen, os.pipe(), ("rb", "wb"), (0, 0))
        theirs.enter_context(its_stdout)
        from_it = PipeReader(stdout, reader)
        ours.callback(from_it.close)
        # No await from here on: a cancellation would leak the process.
        process = subprocess.Popen(  # noqa: ASYNC220 - it returns when the program runs, as asyncio's does
            argv, stdin=its_stdin, stdout=its_stdout, stderr=stderr, env=env, cwd=cwd, start_new_session=True
        )
        ours.pop_all()
    return _Process(process, from_it, on_exit)


async def _connect(
    connect: Callable[[Callable[[], Any], IO[bytes]], Awaitable[tuple[Any, Any]]],
    protocol: asyncio.BaseProtocol,
    end: IO[bytes],
) -> Any:
    """Give our end of a pipe to the loop; close it if that fails."""
    try:
        transport, _ = await connect(lambda: protocol, end)
    except BaseException:
        with contextlib.suppress(OSError):  # uvloop has closed the descriptor itself
            end.close()
        raise
    return transport


class _Process:
    """A process that tells the loop of its exit by a process descriptor, or by a thread where the system has none."""

    def __init__(
        self, process: subprocess.Popen[bytes], stdout: asyncio.ReadTransport, on_exit: Callable[[], None]
    ) -> None:
        self.pid = process.pid
        self._process = process
        self._stdout = stdout
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self._descriptor = _process_descriptor(self.pid)
        running_processes[self.pid] = self._look
        if self._descriptor is not None:
            self._loop.add_reader(self._descriptor, self._look)
        else:
            threading.Thread(target=self._wait, name=f"wait for {self.pid}", daemon=True).start()

    @property
    def status(self) -> int | None:
        return self._process.returncode

    def _wait(self) -> None:
        self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed, so no task waits for this
            self._loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        """Check whether the process has ended, and report the exit once."""
        if self._process.poll() is None or running_processes.pop(self.pid, None) is None:
            return
        if self._descriptor is not None:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
        self._on_exit()

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self._stdout.close()
        if self.status is None:
            self._process.kill()


def _process_descriptor(pid: int) -> int | None:
    """Return a descriptor that becomes readable when a process ends; None where the system has none."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # an old kernel, or a sandbox that forbids the call
            return os.pidfd_open(pid)
    return None


class _Callbacks(asyncio.SubprocessProtocol):
    """Passes asyncio's callbacks for a process and its pipes to the reader and the writer (Windows)."""

    def __init__(self, reader: FrameReader, writer: asyncio.BaseProtocol, on_exit: Callable[[], None]) -> None:
        self._reader = reader
        self._writer = writer
        self.process_exited = on_exit  # type: ignore[method-assign]  # the callback is the method
        self.pause_writing = writer.pause_writing  # type: ignore[method-assign]
        self.resume_writing = writer.resume_writing  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        pipes = cast(asyncio.SubprocessTransport, transport)
        stdout, stdin = pipes.get_pipe_transport(1), pipes.get_pipe_transport(0)
        assert stdout is not None and stdin is not None, "both are pipes"
        self._reader.connection_made(stdout)
        self._writer.connection_made(stdin)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._reader.data_received(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        (self._writer if fd == 0 else self._reader).connection_lost(exc)


async def _start_on_windows(
    argv: Sequence[str], env: Mapping[str, str], cwd: str | None, stderr: int | None, callbacks: _Callbacks
) -> Program:
    transport, _ = await asyncio.get_running_loop().subprocess_exec(
        lambda: callbacks,
        *argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=env,
        cwd=cwd,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )
    return _WindowsProcess(transport)


class _WindowsProcess:
    """A process that asyncio started, because on Windows a loop can read only asyncio's own pipes."""

    def __init__(self, transport: asyncio.SubprocessTransport) -> None:
        self.pid = transport.get_pid()
        self.terminate, self.kill, self.close = transport.terminate, transport.kill, transport.close
        self._transport = transport

    @property
    def status(self) -> int | None:
        return self._transport.get_returncode()
