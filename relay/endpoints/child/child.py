"""An endpoint over a child process: the relay writes frames to its stdin and reads frames from its stdout.

MCP, Transports, "stdio", and Lifecycle, "Shutdown": close the child's stdin, give it time, then SIGTERM, then SIGKILL.
The relay signals the whole process group, because ``npx`` and shells leave grandchildren. It starts an argv list, never
a shell.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal

from relay.endpoints.base import Taker
from relay.endpoints.child.guardian import Guardian
from relay.endpoints.child.pipe_reader import READ_SIZE
from relay.endpoints.child.program import Program, start_program
from relay.endpoints.core.byte_stream import FrameReader, FrameWriter
from relay.endpoints.core.pipes import widen_pipe
from relay.endpoints.core.small_event import SmallEvent
from relay.errors import CommandNotFound, ConfigError, EndpointBroken, EndpointUnavailable, RelayError
from relay.frames import replies
from relay.frames.faults import size_fault
from relay.frames.frame import Frame
from relay.frames.head import Head, Kind
from relay.frames.lines import Oversized
from relay.limits import DEFAULT_LIMITS, Limits

__all__ = ["Child", "child_environment", "resolve_program"]

logger = logging.getLogger("relay")

_WINDOWS = os.name == "nt"
_EXIT_AFTER_EOF = 0.5  # seconds between EOF on stdout and the exit; after them, one without the other is an end too
_GROUP_POLL = 0.02
_STARTING = 5.0  # seconds of silence before the first warning that a child is still starting; then twice as long
_STARTING_MAX = 320.0

# Only what both official SDKs pass to the servers that they start, so that the relay's own secrets stay here.
_POSIX_VARIABLES = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER")
_WINDOWS_VARIABLES = (
    "APPDATA", "HOMEDRIVE", "HOMEPATH", "LOCALAPPDATA", "PATH", "PATHEXT", "PROCESSOR_ARCHITECTURE", "PROGRAMFILES",
    "SYSTEMDRIVE", "SYSTEMROOT", "TEMP", "USERNAME", "USERPROFILE",
)  # fmt: skip
# The relay never passes these on, not even with --pass-environment: they are for the relay itself.
_OWN_VARIABLES = (
    "API_ACCESS_TOKEN",
    "PROXY_TOKEN",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
)
_OWN_PREFIX = "MCP_RELAY_"
_CMD_METACHARACTERS = frozenset('&|<>^%"!')


def child_environment(
    extra: Mapping[str, str] | None = None,
    *,
    pass_all: bool = False,
    withheld: Collection[str] = (),
    base: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return a child's environment: the SDKs' short list, or all but the relay's own variables, plus ``extra``.

    Variables in ``withheld`` hold secrets of the relay, too.
    """
    source = os.environ if base is None else base
    if pass_all:
        chosen = {
            name: value
            for name, value in source.items()
            if name not in _OWN_VARIABLES and name not in withheld and not name.startswith(_OWN_PREFIX)
        }
    else:
        names = _WINDOWS_VARIABLES if _WINDOWS else _POSIX_VARIABLES
        # A value that starts with "()" is an exported shell function: code, not data.
        chosen = {name: source[name] for name in names if name in source and not source[name].startswith("()")}
    return {**chosen, **(extra or {})}


def resolve_program(command: Sequence[str], env: Mapping[str, str], cwd: str | None = None) -> list[str]:
    """Return the argv with the full path of its program, found on the child's PATH.

    Raises ConfigError if there is no such program. On Windows this finds ``npx.cmd`` for ``npx``. cmd.exe parses a
    batch file's arguments again, so this rejects arguments that cmd.exe would read as operators.
    """
    if not command or not command[0]:
        raise ConfigError("no command given")
    if cwd is not None and not os.path.isdir(cwd):
        raise ConfigError(
            f"working directory {cwd!r} " + ("is not a directory" if os.path.exists(cwd) else "does not exist")
        )
    program = command[0]
    if os.path.dirname(program):
        found = shutil.which(os.path.join(cwd, program) if cwd and not os.path.isabs(program) else program)
    else:
        found = shutil.which(program, path=env.get("PATH"))
    if found is None:
        remedy = "give its full path, or add it to PATH"
        if any(space in program for space in " \t\n"):
            remedy = f"if it is {len(program.split())} words, write it without quotes around them all"
        raise CommandNotFound(program, remedy)
    if found.lower().endswith((".cmd", ".bat")) and any(_CMD_METACHARACTERS & set(word) for word in command[1:]):
        raise ConfigError(f"{found}: a batch file's arguments must not contain any of & | < > ^ % \" !")
    return [os.path.abspath(found), *command[1:]]


class _ChildReader(FrameReader):
    """Reads the child's stdout and filters out lines that are not JSON-RPC."""

    is_server = True
    passes: Literal["all", "messages", ""] = "messages"

    def __init__(
        self, name: str, limits: Limits, writer: FrameWriter, on_noise: Callable[[bytes], None] | None
    ) -> None:
        super().__init__(name, limits, on_oversized=self._answer_oversized)
        self._writer = writer
        self._on_noise = on_noise
        self.noise = 0
        self.has_ended = False
        self._is_wide = False
        self.on_end: Callable[[], None] = lambda: None

    def pipe_was_full(self) -> None:
        if not self._is_wide:
            self._is_wide = True
            _widen(self._transport)

    def eof_received(self) -> bool:
        """Note the end of stdout; the exit status decides whether the end is orderly, see ``_Ends``."""
        if not self.has_ended:
            self.has_ended = True
            self.on_end()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.eof_received()

    def finish(self) -> None:
        """Deliver a last line that has no newline, then the end."""
        super().eof_received()

    def accept(self, pieces: list[Frame | Oversized]) -> list[Frame]:
        frames: list[Frame] = []
        for piece in pieces:
            if isinstance(piece, Oversized):
                self.report_oversized(piece)
            elif piece.head.kind is Kind.INVALID:
                frames += self._sift(piece)
            else:
                frames.append(piece)
        return frames

    def _sift(self, frame: Frame) -> list[Frame]:
        """Return what replaces a line that is no message; a request may wait for an answer in that line."""
        from relay.frames.repair import sift  # 3 ms of start-up, which few servers need

        sifted = sift(frame, self.name, is_server=True)
        if sifted.is_noise:
            self._set_aside(frame)
        if not self._writer.is_held_back:
            for refusal in sifted.back:
                self._writer.write_soon(refusal)
        return sifted.onward

    def _set_aside(self, frame: Frame) -> None:
        self.noise += 1
        if self.noise == 1:
            logger.warning(
                "%s: wrote a line to stdout that is not JSON-RPC; the relay copies such lines to stderr", self.name
            )
        if self._on_noise is not None:
            self._on_noise(frame.raw)

    def _answer_oversized(self, head: Head, piece: Oversized) -> None:
        """Replace an answer that is too large by an error; the child's other requests continue."""
        fault = f"{self.name}: {size_fault(piece.size, self._limits.max_frame_bytes)}"
        if head.kind is Kind.RESPONSE or (head.kind is Kind.INVALID and piece.start.lstrip()[:1] == b"{"):
            # The kept ends of the line may not show its id; the only open request then gets this error.
            self.inbox.put([Frame(replies.too_large(head, head.id, fault).raw)])
        elif head.kind is Kind.REQUEST:
            self._writer.write_soon(replies.too_large(head, head.id, fault))


class _ChildWriter(FrameWriter):
    """Writes to the child's stdin, and reports its end unless the relay closed it."""

    on_end: Callable[[], None]
    _is_wide = False

    def pause_writing(self) -> None:
        if not self._is_wide:
            self._is_wide = True
            _widen(self._transport)
        super().pause_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        is_ours = self._sent_eof
        super().connection_lost(exc)
        if not is_ours:
            self.on_end()


def _widen(transport: asyncio.BaseTransport | None) -> None:
    """Enlarge a pipe, now that large frames cross it."""
    pipe = transport.get_extra_info("pipe") if transport is not None else None
    if pipe is not None and not pipe.closed:
        widen_pipe(pipe.fileno(), READ_SIZE)


class _Ends:
    """Detects a child's end: EOF on stdout and the exit, or only one sign and then silence.

    A stdin that the child has closed is a sign, too.
    """

    def __init__(self, reader: _ChildReader, writer: _ChildWriter) -> None:
        self._reader = reader
        reader.on_end = self._one_came
        writer.on_end = self._wait_for_other
        self.exited = SmallEvent()
        self.on_end: Callable[[], None] = lambda: None

    def note_exit(self) -> None:
        self.exited.set()
        self._one_came()

    def _one_came(self) -> None:
        if self._reader.has_ended and self.exited.is_set():
            self.on_end()
        else:
            self._wait_for_other()

    def _wait_for_other(self) -> None:
        asyncio.get_running_loop().call_later(_EXIT_AFTER_EOF, self._look_again, self._reader.reads)

    def _look_again(self, reads: int) -> None:
        """Decide whether the child has ended: it may close stdin or stdout and live on.

        Also, a grandchild may hold stdout open after the child has exited.
        """
        if not self._reader.has_ended and (reads != self._reader.reads or self._reader.inbox.is_paused):
            self._wait_for_other()  # output that the child wrote before its exit still arrives
        else:
            self.on_end()


class Child:
    """A running child process, made by ``Child.start``."""

    def __init__(
        self,
        name: str,
        limits: Limits,
        program: Program,
        ends: _Ends,
        reader: _ChildReader,
        writer: FrameWriter,
    ) -> None:
        """Take over a process that has just started; use ``Child.start``."""
        self.name = name
        self._limits = limits
        self._program = program
        self._ends = ends
        self._reader = reader
        self._writer = writer
        self.send_at_once: Taker = writer.send_at_once
        """Write to the child's stdin, unless that would wait or fail; see ``SendsAtOnce``."""
        self._closing = False
        self._closed = SmallEvent()
        self._guardian: Guardian | None = None
        self.pid = program.pid
        self.own_end: str | None = None
        """How the child ended by itself; set before ``call_at_end`` calls back, and None if the relay ended it."""

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        name: str | None = None,
        limits: Limits = DEFAULT_LIMITS,
        stderr: int | None = None,
        on_noise: Callable[[bytes], None] | None = None,
    ) -> Child:
        """Start ``command`` in a process group of its own, with ``env`` as its whole environment (None: short list).

        ``stderr`` is a file descriptor for the child's stderr (None: the relay's). ``on_noise`` gets each line of its
        stdout that is not JSON-RPC. Raises ConfigError if no such program exists, and EndpointUnavailable if it cannot
        start.
        """
        environment = child_environment() if env is None else dict(env)
        argv = resolve_program(command, environment, cwd)
        name = name or os.path.basename(command[0])
        writer = _ChildWriter(name, limits)
        reader = _ChildReader(name, limits, writer, on_noise)
        ends = _Ends(reader, writer)
        try:
            program = await start_program(
                argv,
                env=environment,
                cwd=cwd,
                stderr=stderr,
                reader=reader,
                writer=writer,
                on_exit=ends.note_exit,
            )
        except OSError as exc:
            raise EndpointUnavailable(f"{name}: cannot be started: {exc}") from exc
        # No await between the start and here: a cancellation in between would leak the process.
        child = cls(name, limits, program, ends, reader, writer)
        child._begin()
        return child

    def _begin(self) -> None:
        if not _WINDOWS:
            self._guardian = Guardian.hold()
            if self._guardian is not None:
                self._guardian.watch(self.pid)
        self._ends.on_end = self._ended
        self._starting = asyncio.get_running_loop().call_later(_STARTING, self._look_at_start, _STARTING)

    def _look_at_start(self, seconds: float) -> None:
        """Warn of a child that has not answered since it started: a client, and its user, wait for it."""
        if self.has_written or self._closing or not self.is_alive or seconds > _STARTING_MAX:
            return
        if self.is_starting:
            logger.warning("%s: still starting (%d s): it has not answered its first message yet", self.name, seconds)
        self._starting = asyncio.get_running_loop().call_later(seconds, self._look_at_start, 2 * seconds)

    @property
    def noise(self) -> int:
        """The number of lines on the child's stdout that were not JSON-RPC."""
        return self._reader.noise

    @property
    def has_written(self) -> bool:
        """Whether the child has written to its stdout."""
        return self._reader.reads > 0

    @property
    def is_starting(self) -> bool:
        """Whether the child has been sent a message and has written nothing yet."""
        return self._writer.has_sent and not self.has_written

    @property
    def is_alive(self) -> bool:
        """Whether the process has not exited."""
        return self._program.status is None

    def _ended(self) -> None:
        """Finish the inbox once ``_Ends`` has seen the child's end."""
        status = self._program.status
        if not self._closing:
            self._note_own_end("closed its stdout" if self._reader.has_ended else "closed its stdin")
        if self._closing or status == 0 or (status is None and self._reader.has_ended):
            self._reader.finish()
        else:
            # The last line may be incomplete: the reader discards it.
            self._reader.deliver_late()
            self._reader.inbox.finish(EndpointBroken(f"{self.name}: {self.own_end}"))

    def _takes_no_more(self) -> bool:
        try:
            self._writer.check()
        except EndpointBroken:
            return True
        return False

    def _note_own_end(self, seen: str) -> None:
        status = self._program.status
        self.own_end = seen if status is None else _describe_exit(status)

    async def receive(self) -> Sequence[Frame]:
        """Return what the child wrote; raise EndpointBroken if it exited with a status other than 0."""
        return await self._reader.inbox.receive()

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the child will send no more."""
        self._reader.inbox.call_at_end(callback)

    async def send(self, frames: Sequence[Frame]) -> None:
        """Write frames to the child's stdin; wait while the child does not read."""
        await self._writer.send(frames)

    def offer_to(self, taker: Taker) -> None:
        """Offer the child's frames to ``taker``; see ``OffersFrames``."""
        self._reader.inbox.offer_to(taker)

    async def send_eof(self) -> None:
        """Close the child's stdin, so that it answers the requests in flight and ends."""
        self._closing = True
        self._writer.send_eof()

    async def aclose(self, reason: RelayError | None = None) -> None:
        """End the process group: close stdin, then SIGTERM, then SIGKILL, ``close_grace`` seconds apart."""
        if self._closing and self._closed.is_set():
            return
        if not self._closing and self._takes_no_more():
            self._note_own_end("closed its stdin")
        self._closing = True
        self._writer.send_eof()
        # A child that blocks on a full pipe cannot see EOF on its stdin, so read on and drop its output.
        self._reader.inbox.finish()
        self._reader.resume()
        try:
            await self._stop_process()
        except BaseException:
            # A second cancellation comes from an operator who insists.
            self._signal_group(signal.SIGTERM if _WINDOWS else signal.SIGKILL)
            raise
        finally:
            self._release()

    async def _stop_process(self) -> None:
        grace = self._limits.close_grace
        if not await self._exits_within(grace):
            logger.info("%s: still runs %g s after the relay closed its stdin: sending SIGTERM", self.name, grace)
            self._signal_group(signal.SIGTERM)
            if not await self._exits_within(grace):
                logger.warning("%s: still runs %g s after SIGTERM: sending SIGKILL", self.name, grace)
                self._kill_group()
                await self._exits_within(grace)
        await self._end_rest_of_group(grace)

    async def _end_rest_of_group(self, grace: float) -> None:
        """End grandchildren that outlive the child."""
        if _WINDOWS or not self._signal_group(0):
            return
        self._signal_group(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self._signal_group(0):  # noqa: ASYNC110
                    await asyncio.sleep(_GROUP_POLL)  # nothing reports the end of a process that is not our child
                return
        self._kill_group()

    async def _exits_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ends.exited.wait()
        return self._ends.exited.is_set()

    def _signal_group(self, number: int) -> bool:
        """Send a signal to the process group (Windows: to the child); return whether a process could get it."""
        try:
            if _WINDOWS:
                if self.is_alive:
                    self._program.terminate()
                return self.is_alive
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def _kill_group(self) -> None:
        if _WINDOWS:
            with contextlib.suppress(ProcessLookupError):
                self._program.kill()
        else:
            self._signal_group(signal.SIGKILL)

    def _release(self) -> None:
        self._starting.cancel()
        self._writer.abort()
        self._program.close()
        if self._guardian is not None:
            self._guardian.unwatch(self.pid)
            self._guardian.release()
            self._guardian = None
        self._closed.set()


def _describe_exit(status: int) -> str:
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
