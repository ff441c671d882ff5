"""Listening sockets that another process opened: ``--listen fd:3``, and the sockets of systemd.

systemd binds a socket, starts the relay at the first connection, and keeps the socket during a restart. So no client
is refused meanwhile. See sd_listen_fds(3).
"""

from __future__ import annotations

import os
import socket
import stat

from relay.errors import ConfigError

__all__ = ["handed_over", "take_over"]

_FIRST = 3  # after stdin, stdout and stderr
_MOST = 1024


def handed_over() -> list[str]:
    """Return the values of ``--listen`` for the sockets that systemd opened for this process."""
    count = os.environ.get("LISTEN_FDS", "")
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or not count.isascii() or not count.isdigit():
        return []
    return [f"fd:{number}" for number in range(_FIRST, _FIRST + min(int(count), _MOST))]


def take_over(text: str) -> tuple[int, tuple[str, int] | str]:
    """Return the descriptor that ``fd:N`` names, and the host and port, or the path, at which it listens.

    Raises ConfigError if this process did not inherit a listening socket of that number.
    """
    digits = text[3:]
    if not digits.isascii() or not digits.isdigit() or not _FIRST <= int(digits) < 1 << 20:
        raise ConfigError(f"--listen: {text!r} names no descriptor; expected fd:3, the first one that is handed over")
    number = int(digits)
    try:
        is_socket = stat.S_ISSOCK(os.fstat(number).st_mode)
    except OSError as exc:
        raise ConfigError(f"--listen {text}: this program was started without such a descriptor") from exc
    if not is_socket:
        raise ConfigError(f"--listen {text}: that is no socket")
    os.set_inheritable(number, False)  # children must not inherit it
    # A copy, because closing the object closes its descriptor.
    with socket.socket(fileno=os.dup(number)) as sock:
        if sock.type != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ConfigError(f"--listen {text}: that is no listening stream socket; a .socket unit needs Accept=no")
        address = sock.getsockname()
    if isinstance(address, tuple):
        return number, (address[0], address[1])
    return number, os.fsdecode(address)
