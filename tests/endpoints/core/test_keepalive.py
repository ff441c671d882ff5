"""The socket options with which the kernel detects dead peers."""

from __future__ import annotations

import contextlib
import socket
import sys

import pytest

from relay.endpoints.core.keepalive import detect_dead_peer


@pytest.mark.skipif(sys.platform != "linux", reason="each system has options of its own")
def test_a_connection_is_probed_and_given_up() -> None:
    """An idle one after a minute, one whose bytes are not taken after the time that is given."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as sock:
        detect_dead_peer(sock, 1.5)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        values = [sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names]
        assert values == [30, 10, 3, 1500]


def test_what_has_no_distance_is_left_alone() -> None:
    """A Unix socket, a transport without one, a connection that has just gone."""
    with contextlib.ExitStack() as ending:
        left, _ = (ending.enter_context(one) for one in socket.socketpair())
        detect_dead_peer(left, 1)
        assert left.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
    detect_dead_peer(None, 1)
    gone = socket.socket()
    gone.close()
    detect_dead_peer(gone, 1)


@pytest.mark.parametrize(("platform", "option", "value"), [("linux", 18, 1500), ("darwin", 0x80, 1), ("win32", 5, 1)])
def test_each_system_has_a_user_time_out(
    platform: str, option: int, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the number and in the unit that its headers name; an option that is missing costs no other."""

    class Recording:
        family = socket.AF_INET

        def __init__(self) -> None:
            self.options: dict[tuple[int, int], int] = {}

        def setsockopt(self, level: int, name: int, value: int) -> None:
            self.options[level, name] = value
            raise OSError(92, "Protocol not available")

    monkeypatch.setattr(sys, "platform", platform)
    sock = Recording()
    detect_dead_peer(sock, 1.5)
    assert sock.options[socket.IPPROTO_TCP, option] == value
    assert sock.options[socket.SOL_SOCKET, socket.SO_KEEPALIVE] == 1
