"""The command line of ``mcp-relay``: the first argument chooses the command, and every command ends here.

Exit codes: 0 an orderly end, 1 a failure, 2 a mistake of the operator's (one line on stderr), 130 interrupted,
141 the reader of stdout has gone.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from relay import freed_memory
from relay.loading import without_collecting

with without_collecting():
    from relay.app.commands import relay as relay_command
    from relay.app.log.stderr import StderrSink, say
    from relay.app.run.orphans import reap_orphans
    from relay.app.run.process import (
        collect_less_often,
        flush_stdout,
        loop_factory,
        open_standard_descriptors,
        raise_descriptor_limit,
    )
    from relay.errors import CommandNotFound, ConfigError, ConfigErrors, RelayError

__all__ = ["main"]

_UNREAD = 141  # the exit code that shells give a program that SIGPIPE ended
_OWN_NAMES = (
    "mcp-relay",
    "mcp-frame-relay",
    "__main__.py",
)  # else the name of a link or a copy, which may be another tool's


def _test(args: Sequence[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    from relay.app.doctor.cli import command

    return command(args, sink)


def _notification_demo(args: Sequence[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    from relay.app.commands.notification_demo import command

    return command(args, sink)


def _proxy(args: Sequence[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    from relay.app.commands.proxy import proxy

    return proxy(args, sink)


def _load_balance(args: Sequence[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    from relay.app.commands.proxy import load_balance

    return load_balance(args, sink)


def _gateway(args: Sequence[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    from relay.app.commands.gateway import gateway

    return gateway(args, sink)


def _reset(args: Sequence[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    from relay.app.commands.reset import command

    return command(args, sink)


def _auth(args: Sequence[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    from relay.app.commands.auth import auth

    return auth(args, sink)


def _doctor(args: Sequence[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    from relay.app.commands.doctor import doctor

    return doctor(args, sink)


# By the first argument, the function that reads the others and returns the job. Imports are late: a relay needs none.
_SUBCOMMANDS: dict[str, Callable[[Sequence[str], StderrSink], Coroutine[Any, Any, int]]] = {
    "test": _test,
    "notification-demo": _notification_demo,
    "proxy": _proxy,
    "load-balance": _load_balance,
    "gateway": _gateway,
    "reset": _reset,
    "doctor": _doctor,
    "auth": _auth,
}


def _install(args: Sequence[str], sink: StderrSink) -> int:
    if "--list" in args:
        from relay.app.commands.doctor import list_clients

        return asyncio.run(list_clients(sink))
    from relay.app.install.command import command

    return command(args, sink)


def _uninstall(args: Sequence[str], sink: StderrSink) -> int:
    from relay.app.install.uninstall import command

    return command(args, sink)


def _completion(args: Sequence[str], sink: StderrSink) -> int:
    from relay.app.completion import command

    return command(args, sink)


def _config(args: Sequence[str], sink: StderrSink) -> int:
    from relay.app.commands.config import command

    return command(args, sink)


# The same for commands that run at once: they ask a person, or need no event loop.
_WITHOUT_LOOP: dict[str, Callable[[Sequence[str], StderrSink], int]] = {
    "install": _install,
    "uninstall": _uninstall,
    "completion": _completion,
    "config": _config,
}


def _translated(program: str, args: Sequence[str], sink: StderrSink) -> Sequence[str]:
    """Translate another tool's arguments: those after ``as NAME``, or all if the program was started under its name.

    Raises ConfigError.
    """
    from relay.app.dropins import name_of_program, native_args

    if args[:1] == ["as"]:
        return native_args(args[1] if len(args) > 1 else None, args[2:], sink)
    name = name_of_program(program)
    return args if name is None else native_args(name, args, sink)


def _is_ours(program: str) -> bool:
    """Tell whether the program was started under its own name."""
    return os.path.basename(program).startswith(_OWN_NAMES)


def _job(program: str, args: Sequence[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    """Return what is to run. Raises ConfigError."""
    if args[:1] == ["as"] or not _is_ours(program):
        args = _translated(program, args, sink)
    before = _log_args(args)
    word = args[before] if before < len(args) else ""
    if word in _SUBCOMMANDS:
        return _SUBCOMMANDS[word]((*args[:before], *args[before + 1 :]), sink)
    if word.replace("-", "").isalpha():
        from relay.app.commands.first_word import check_first_word

        check_first_word(args[before:], {*_SUBCOMMANDS, *_WITHOUT_LOOP, "as"})
    return relay_command.command(args, sink)


def _log_args(args: Sequence[str]) -> int:
    """Return how many leading arguments are options of the log: mcp-connect takes them before its subcommand, too."""
    count = 0
    while count < len(args):
        if args[count] in ("--debug", "--no-debug") or args[count].startswith("--log-level="):
            count += 1
        elif args[count] == "--log-level":
            count += 2
        else:
            break
    return count


def _next_step(exc: ConfigError) -> str:
    """Return the option to change; the error itself knows only that the address is not available."""
    if isinstance(exc, CommandNotFound):
        from relay.app.commands.first_word import other_meaning

        return other_meaning(exc.program, {*_SUBCOMMANDS, *_WITHOUT_LOOP, "as"})
    cause = exc.__cause__
    if isinstance(cause, socket.gaierror) or (isinstance(cause, OSError) and cause.errno == errno.EADDRNOTAVAIL):
        return "; --host must be an address of this machine"
    if isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE:
        return "; choose another --port, or leave it out for a free one"
    if isinstance(cause, PermissionError):
        return "; choose a --port above 1023"
    return ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    open_standard_descriptors()
    raise_descriptor_limit()
    sink = StderrSink()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # --help has dots that an ASCII terminal cannot show
    try:
        code = _run(argv, sink)
        fault = flush_stdout()
    except SystemExit:  # argparse raises this after --help
        fault = flush_stdout()
        if fault is None:
            raise
    except OSError as exc:  # text larger than the buffer fails at once, and leaves no rest in it
        fault = flush_stdout() or exc
        if fault.errno not in (errno.EPIPE, errno.ENOSPC) or exc.filename is not None:
            raise
    if fault is None:
        return code
    if isinstance(fault, BrokenPipeError):
        return _UNREAD
    say(sink, f"stdout: what was to be printed is not all there: {fault.strerror}")
    return 1


def _run(argv: Sequence[str] | None, sink: StderrSink) -> int:
    """Run the command; return the exit code."""
    try:
        program, *args = sys.argv if argv is None else ("mcp-relay", *argv)
        if args and args[0] in _WITHOUT_LOOP and _is_ours(program):
            return _WITHOUT_LOOP[args[0]](args[1:], sink)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            job = _job(program, args, sink)
            collect_less_often()
            freed_memory.keep()
            with reap_orphans(runner.get_loop()):
                return runner.run(job)
    except ConfigErrors as exc:
        for fault in exc.faults:
            say(sink, fault)
        return 2
    except ConfigError as exc:
        say(sink, str(exc) + _next_step(exc))
        return 2
    except RelayError as exc:
        say(sink, str(exc))
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        sink.flush()
