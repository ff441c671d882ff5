"""End the children of a relay that was killed, because ``kill -9`` leaves the relay no time to do so.

A small shell process reads the ids of the live process groups, one on each line. However the relay ends, the pipe
between them ends too. The guardian then ends every group on its list, children and grandchildren. It costs about 1 MB,
once per relay, and needs a POSIX shell. Without one, children end when their stdin does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess

from relay.endpoints.child.program import running_processes

__all__ = ["Guardian"]

logger = logging.getLogger("relay")

# The guardian ignores the signals that a terminal sends to a whole group; it ends when its stdin does.
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
    """One shell process that watches every process group of this relay, started when first needed."""

    _shared: Guardian | None = None

    def __init__(self) -> None:
        """Start the process; callers use ``hold``, which shares one guardian."""
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
        """Return the shared guardian, or None without a POSIX shell; the caller returns it with ``release``."""
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
        """Return the guardian; the last holder ends its process."""
        self._holders -= 1
        if self._holders > 0:
            return
        if Guardian._shared is self:
            Guardian._shared = None
        assert self._process.stdin is not None, "made with a pipe"
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)  # it has no group left to end, and exits at once
        self._look()

    def _look(self) -> bool:
        """Tell whether the process has ended."""
        if self._process.poll() is None:
            return False
        running_processes.pop(self._process.pid, None)
        return True

    def watch(self, group: int) -> None:
        """Put a process group on the list of those to end with the relay."""
        self._tell("+", group)

    def unwatch(self, group: int) -> None:
        """Remove a process group from the list, because it has ended."""
        self._tell("-", group)

    def _tell(self, sign: str, group: int) -> None:
        assert self._process.stdin is not None, "made with a pipe"
        try:
            self._process.stdin.write(f"{sign} {group}\n".encode())
            self._process.stdin.flush()
        except OSError as exc:
            logger.warning("the guardian has gone: children may outlive a relay that is killed: %s", exc)
