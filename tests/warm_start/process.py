"""A child process with streams, as `asyncio.create_subprocess_exec` makes it, on any loop, of a forked program."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from typing import Any

from tests.warm_start.popen import Popen

__all__ = ["Process"]


class Process:
    """What `asyncio.subprocess.Process` is, and `close`."""

    stdin: asyncio.StreamWriter | None = None
    stdout: asyncio.StreamReader | None = None
    stderr: asyncio.StreamReader | None = None

    def __init__(self, popen: Popen) -> None:
        """Use ``Process.start``."""
        self._popen = popen
        self._transports: list[asyncio.BaseTransport] = []

    @classmethod
    async def start(
        cls,
        *words: str,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        env: Mapping[str, str] | None = None,
        limit: int = 2**16,
        **options: Any,
    ) -> Process:
        """Start a program; ``limit`` is of a line, in bytes."""
        self = cls(Popen(words, stdin=stdin, stdout=stdout, stderr=stderr, env=env, bufsize=0, **options))
        if self._popen.stdin is not None:
            self.stdin = await self._writer(self._popen.stdin)
        if self._popen.stdout is not None:
            self.stdout = await self._reader(self._popen.stdout, limit)
        if self._popen.stderr is not None:
            self.stderr = await self._reader(self._popen.stderr, limit)
        return self

    async def _writer(self, pipe: Any) -> asyncio.StreamWriter:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.connect_write_pipe(
            lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), pipe
        )
        self._transports.append(transport)
        return asyncio.StreamWriter(transport, protocol, None, loop)

    async def _reader(self, pipe: Any, limit: int) -> asyncio.StreamReader:
        reader = asyncio.StreamReader(limit)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        self._transports.append(transport)
        return reader

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """Return the exit code, minus the signal, or None while it runs."""
        return self._popen.poll()

    async def wait(self) -> int:
        """Wait for its end; return the exit code."""
        if self.returncode is None and hasattr(os, "pidfd_open"):
            loop = asyncio.get_running_loop()
            ended = asyncio.Event()
            descriptor = os.pidfd_open(self.pid)
            try:
                loop.add_reader(descriptor, ended.set)
                await ended.wait()
            finally:
                loop.remove_reader(descriptor)
                os.close(descriptor)
        return await asyncio.to_thread(self._popen.wait) if self.returncode is None else self.returncode

    async def communicate(self, text: bytes | None = None) -> tuple[bytes, bytes]:
        """Write all of it, read to the end, wait, close; what is no pipe is b""."""
        async with asyncio.TaskGroup() as group:
            reading = [group.create_task(one.read()) if one else None for one in (self.stdout, self.stderr)]
            if self.stdin is not None:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self.stdin.write(text or b"")
                    await self.stdin.drain()
                self.stdin.close()
        await self.wait()
        self.close()
        out, err = (one.result() if one else b"" for one in reading)
        return out, err

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        self._popen.send_signal(number)

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Close our ends of its pipes."""
        for transport in self._transports:
            transport.close()
