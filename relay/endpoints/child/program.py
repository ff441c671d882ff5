"""A program that is started, with a pipe to its stdin and one from its stdout.

The pipes are made here. uvloop would give its children socket pairs, over which ``/dev/stdout`` cannot be opened and
of which it does not see the end, and copies of descriptors 0 to 2, which keep those open that the child has closed.
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
"""The processes that were started here and have not been seen to end, each with what looks whether it has."""


class Program(Protocol):
    """A program that was started: its process, and our ends of its pipes."""

    @property
    def pid(self) -> int:
        """The id of its process, and of the process group that it leads."""

    @property
    def status(self) -> int | None:
        """Its exit status, or below zero the signal that has ended it; None while it runs."""

    def terminate(self) -> None:
        """Ask its process to end."""

    def kill(self) -> None:
        """End its process."""

    def close(self) -> None:
        """Read no more; a process that still runs is killed. Who writes closes the other pipe."""


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
    """Start a program in a process group of its own: ``reader`` gets what it writes, ``writer`` writes to it.

    It has no descriptors but the two pipes and ``stderr`` (None: ours). ``on_exit`` is called at its end. Raises
    OSError if it cannot be started.
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
        # No await from here on: a cancellation would leave the process to itself.
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
    """Give our end of a pipe to the loop; it is closed if that fails."""
    try:
        transport, _ = await connect(lambda: protocol, end)
    except BaseException:
        with contextlib.suppress(OSError):  # uvloop has closed the descriptor itself
            end.close()
        raise
    return transport


class _Process:
    """A process whose exit the loop is told of by the kernel, or by a thread where there are no process descriptors."""

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
        with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody asks any more
            self._loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        """See whether it has ended; say so once."""
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
    """Return a descriptor that can be read once a process has ended; None where the system has none."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # an old kernel, or a sandbox that forbids it
            return os.pidfd_open(pid)
    return None


class _Callbacks(asyncio.SubprocessProtocol):
    """What asyncio tells of a process and its pipes, told to who reads and who writes (Windows)."""

    def __init__(self, reader: FrameReader, writer: asyncio.BaseProtocol, on_exit: Callable[[], None]) -> None:
        self._reader = reader
        self._writer = writer
        self.process_exited = on_exit  # type: ignore[method-assign]  # it is this and nothing else
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
    """A process of asyncio's: Windows has no pipes but its own that a loop can read."""

    def __init__(self, transport: asyncio.SubprocessTransport) -> None:
        self.pid = transport.get_pid()
        self.terminate, self.kill, self.close = transport.terminate, transport.kill, transport.close
        self._transport = transport

    @property
    def status(self) -> int | None:
        return self._transport.get_returncode()
