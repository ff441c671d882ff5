"""The output of a command beside the protocol, while it is tested."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence

from relay.app.doctor.advice import shown
from relay.app.log.child_stderr import ChildStderr
from relay.app.log.stderr import StderrSink

__all__ = ["ChildOutput"]

_KEPT_STDERR = 16 * 1024
_SHOWN_STDERR = 12  # lines: the last ones say why it ended
_SHOWN_NOISE = 5  # lines
_LAST_WORDS = 0.3  # seconds for the end of a child's stderr, which grandchildren may hold open


class ChildOutput(ChildStderr):
    """A child's stderr, shown only after a failure, and the lines of its stdout that are not messages."""

    def __init__(self, name: str, sink: StderrSink, secrets: Sequence[str] = ()) -> None:
        """Show lines as ``[name] line``; call ``open`` before ``fd`` is used."""
        super().__init__(name, sink, secrets)
        self._kept = b""
        self._noise: list[bytes] = []
        self._ended = asyncio.Event()
        self.noise = 0
        """How many lines on its stdout were not JSON-RPC."""

    def data_received(self, data: bytes) -> None:
        """Keep the end of its stderr."""
        self._kept = (self._kept + data)[-_KEPT_STDERR:]

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that no more will come."""
        self._ended.set()

    def take_noise(self, line: bytes) -> None:
        """Count a line of noise, and keep the first few."""
        self.noise += 1
        if self.noise <= _SHOWN_NOISE:
            self._noise.append(line)

    def forget(self) -> None:
        """Start again with another child."""
        self._kept, self.noise = b"", 0
        self._noise.clear()

    def describe_noise(self) -> str:
        """Return the noise on stdout in short; empty if there was none."""
        if not self.noise:
            return ""
        first = repr(shown(self._noise[0][:200].strip().decode("utf-8", "replace")))
        return first if self.noise == 1 else f"{self.noise} lines such as {first}"

    def show_noise(self) -> None:
        """Show the first lines of noise."""
        for line in self._noise:
            self.show(line)

    async def show_last_output(self) -> bool:
        """Show the end of its stderr once the child has ended; return whether there was any."""
        if self.fd < 0:
            return False
        with open(os.devnull, "wb") as nothing:  # noqa: ASYNC230 - the null device
            os.dup2(nothing.fileno(), self.fd, inheritable=False)  # the last write end, unless grandchildren hold one
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await self._ended.wait()
        lines = [line for line in self._kept.splitlines() if line.strip()]
        for line in lines[-_SHOWN_STDERR:]:
            self.show(line)
        return bool(lines)
