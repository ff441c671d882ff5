"""Fork a program for whoever asks: ``server.py LISTENER MODULE…``, under the interpreter of the programs.

It imports the modules, takes requests at the socket of that number, and ends with its parent. A request is one packet
of marshal, with the program's descriptors 0 to 2; ``ours`` asks for a child of the asker, whose own child this process
must be. The answer is the process id. An asker without ``ours`` is told the exit code too, and kills the program where
it leaves earlier.

No thread and no loop may run here: a fork would have the locks of the one and the descriptors of the other.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import io
import marshal
import os
import pkgutil
import platform
import runpy
import selectors
import signal
import socket
import struct
import sys
import threading
from typing import Any

Request = dict[str, Any]

_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE_PARENT = 0x8000  # the child's parent is ours
LARGEST = 2**17
"""Bytes of the largest request: what Linux allows of one word or variable."""


class Server:
    """The socket, and the programs whose askers wait for their end."""

    def __init__(self, listener: socket.socket) -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = listener
        self._parent = os.pidfd_open(os.getppid())
        self._selector.register(self._parent, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._askers: dict[int, tuple[int, socket.socket]] = {}  # by the descriptor that tells: of either end

    def serve(self) -> Request | None:
        """Serve until the parent has ended, which is None; in a child, return what it is to be."""
        while True:
            for key, _ in self._selector.select():
                if key.fd == self._parent:
                    return None
                if key.fileobj is self._listener:
                    request = self._fork()
                    if request is not None:
                        return request
                elif key.fd in self._askers:
                    self._finish(key.fd)

    def _fork(self) -> Request | None:
        """Take a request; return it in the child only."""
        asker, _ = self._listener.accept()
        _, user, _ = struct.unpack("3i", asker.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        packet, descriptors, _, _ = socket.recv_fds(asker, LARGEST, 3)
        if user != os.getuid() or len(descriptors) < 3:  # a stranger, or one who has left
            asker.close()
            return None
        request: Request = marshal.loads(packet)
        process = _fork_for_parent() if request["ours"] else os.fork()
        if process == 0:
            self._become(asker, descriptors)
            return request
        for descriptor in descriptors:
            os.close(descriptor)
        with contextlib.suppress(OSError):
            asker.send(b"%d" % process)
        if request["ours"]:
            asker.close()
        else:
            for descriptor in (asker.fileno(), os.pidfd_open(process)):
                self._selector.register(descriptor, selectors.EVENT_READ)
                self._askers[descriptor] = (process, asker)
        return None

    def _finish(self, descriptor: int) -> None:
        """The program has ended, or its asker, which ends the program."""
        process, asker = self._askers[descriptor]
        if descriptor == asker.fileno():
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        for each in [each for each, (of, _) in self._askers.items() if of == process]:
            del self._askers[each]
            self._selector.unregister(each)
            if each != asker.fileno():
                os.close(each)
        with contextlib.suppress(OSError):
            asker.send(b"%d" % os.waitstatus_to_exitcode(status))
        asker.close()

    def _become(self, asker: socket.socket, descriptors: list[int]) -> None:
        """Keep, in a child, nothing but its own descriptors."""
        self._selector.close()
        for one in (asker, self._listener, *(other for _, other in self._askers.values())):
            one.close()
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def _fork_for_parent() -> int:
    """Fork a child of this process's parent, as ``os.fork`` does one of ours."""
    interpreter = ctypes.PyDLL(None)
    interpreter.PyOS_BeforeFork()
    process: int = interpreter.syscall(_CLONE[platform.machine()], _CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
    if process == 0:
        interpreter.PyOS_AfterFork_Child()
    else:
        interpreter.PyOS_AfterFork_Parent()
    return process


def settle(request: Request) -> None:
    """Make of a child what a new interpreter would find."""
    if request["session"]:
        os.setsid()
    elif request["group"] >= 0:
        os.setpgid(0, request["group"])
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.stdin, sys.stdout, sys.stderr = map(_stream, range(3), (sys.stdin, sys.stdout, sys.stderr))
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]


def _stream(descriptor: int, former: Any) -> io.TextIOWrapper:
    """Open one of the standard streams as an interpreter does at its start."""
    is_unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    mode = "wb" if descriptor else "rb"
    raw: Any = open(descriptor, mode, 0 if is_unbuffered and descriptor else -1, closefd=False)
    by_line = not is_unbuffered and (descriptor == 2 or os.isatty(descriptor))
    return io.TextIOWrapper(raw, former.encoding, former.errors, line_buffering=by_line, write_through=is_unbuffered)


def run(words: list[str]) -> None:
    """Be ``python WORDS``, from ``-m MODULE`` or from the path of a script on."""
    sys.orig_argv = [sys.executable, *words]
    if words[0] == "-m":
        sys.argv = words[1:]
        sys.path[0] = os.getcwd()
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path[0] = os.path.dirname(os.path.realpath(words[0]))
        runpy.run_path(words[0], run_name="__main__")


def end(code: object) -> None:
    """Do what an interpreter does at its end, but for freeing every object: 40 ms, most of them for copies of pages.

    The interpreter does all of it where the code is words, or where nobody reads what was printed.
    """
    if not isinstance(code, int | None):
        return
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads
    atexit._run_exitfuncs()
    gc.collect()  # what was forgotten says so
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit((code or 0) & 0xFF)


def prepare(modules: list[str]) -> None:
    """Import what the programs will; what is not there, they will miss themselves."""
    sys.path[0] = os.getcwd()  # where this file was, whose neighbours are no modules of theirs
    for module in modules:
        with contextlib.suppress(ImportError):
            for name in _package(module.removesuffix(".*")) if module.endswith(".*") else [module]:
                importlib.import_module(name)
    assert threading.active_count() == 1, "a fork would have the locks of these threads"
    gc.collect()
    gc.freeze()  # a child that collects would copy every page


def _package(name: str) -> list[str]:
    """List the modules of a package, but for those that are programs."""
    found = pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}.")
    return [one.name for one in found if not one.name.endswith("__main__")]


if __name__ == "__main__":
    prepare(sys.argv[2:])
    asked = Server(socket.socket(fileno=int(sys.argv[1]))).serve()
    if asked is not None:
        settle(asked)
        try:
            run(asked["words"])
        except SystemExit as exc:
            end(exc.code)
            raise
        end(0)
