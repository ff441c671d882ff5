"""End the children of a relay that was killed: ``kill -9`` leaves a process no moment to do it itself.

A tiny shell process reads the ids of the process groups that live, one line each. When the relay is gone, however it
went, the pipe between them ends, and the guardian ends every group still on its list: children and grandchildren. It
costs about 1 MB, once per relay, and works wherever there is a POSIX shell; elsewhere children end when their stdin
does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess

from relay.endpoints.child.program import running_processes

__all__ = ["Guardian"]

logger = logging.getLogger("relay")

# The guardian ignores the signals that a terminal sends to everybody: it ends when its stdin does.
_SCRIPT = """
trap '' HUP INT TERM
groups=' '
while read -r sign group; do
  case $sign in
    +) groups="$groups$group " ;;
    -) groups="${groups%% $group *} ${groups#* $group }" ;;
  esac
done
[ -n "${groups# }" ] || exit 0
for group in $groups; do kill -s TERM -- "-$group"; done
sleep 1
for group in $groups; do kill -s KILL -- "-$group"; done
"""


class Guardian:
    """One shell process that watches over every process group of this relay; started when first needed."""

    _shared: Guardian | None = None

    def __init__(self) -> None:
        """Start the process; use ``hold`` instead, which shares one."""
        self._holders = 0
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        running_processes[self._process.pid] = self._look

    @classmethod
    def hold(cls) -> Guardian | None:
        """Return the shared guardian, to be given back with ``release``; None where there is no POSIX shell."""
        if os.name != "posix":
            return None
        if cls._shared is None or cls._shared._look():
            try:
                cls._shared = cls()
            except OSError as exc:
                logger.warning("no guardian: children may outlive a relay that is killed: %s", exc)
                return None
        cls._shared._holders += 1
        return cls._shared

    def release(self) -> None:
        """Give it back; the last holder ends the process."""
        self._holders -= 1
        if self._holders > 0:
            return
        if Guardian._shared is self:
            Guardian._shared = None
        assert self._process.stdin is not None, "made with a pipe"
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)  # it has nothing left to end, and exits at once
        self._look()

    def _look(self) -> bool:
        """Tell whether the process has ended."""
        if self._process.poll() is None:
            return False
        running_processes.pop(self._process.pid, None)
        return True

    def watch(self, group: int) -> None:
        """End this process group if the relay goes before ``unwatch``."""
        self._tell("+", group)

    def unwatch(self, group: int) -> None:
        """The group is gone."""
        self._tell("-", group)

    def _tell(self, sign: str, group: int) -> None:
        assert self._process.stdin is not None, "made with a pipe"
        try:
            self._process.stdin.write(f"{sign} {group}\n".encode())
            self._process.stdin.flush()
        except OSError as exc:
            logger.warning("the guardian has gone: children may outlive a relay that is killed: %s", exc)
