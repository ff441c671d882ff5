"""A listener binds every address of a name or of ``::``, with one port."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any

import pytest

from relay.endpoints.core import binding
from relay.endpoints.core.binding import addresses_of, bind, everywhere
from relay.endpoints.http.server.listener import HttpListener
from relay.endpoints.socket.listener import TcpListener
from relay.errors import ConfigError

LISTENERS: dict[str, Callable[[str, int], Any]] = {"http": HttpListener, "tcp": TcpListener}

pytestmark = pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")


async def reaches(host: str, port: int) -> bool:
    """Tell whether somebody listens there."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


@pytest.mark.parametrize("kind", LISTENERS)
@pytest.mark.parametrize(
    ("host", "bound"),
    [
        ("::", {"::", "0.0.0.0"}),
        ("0::0", {"::", "0.0.0.0"}),
        ("localhost", {"127.0.0.1", "::1"}),
        ("0.0.0.0", {"0.0.0.0"}),
        ("::1", {"::1"}),
    ],
)
async def test_both_families_reach_one_port(kind: str, host: str, bound: set[str]) -> None:
    """``::`` is what other programs make of it: IPv4 as well."""
    listener = LISTENERS[kind](host, 0)
    await listener.start()
    try:
        assert {address for address, _ in listener.addresses} == bound
        (port,) = {port for _, port in listener.addresses}
        is_of_four, is_of_six = any("." in one for one in bound), any(":" in one for one in bound)
        assert await reaches("127.0.0.1", port) == is_of_four
        assert await reaches("::1", port) == is_of_six
    finally:
        await listener.aclose()


@pytest.mark.parametrize("kind", LISTENERS)
async def test_a_port_that_is_taken_in_one_family_is_not_had(kind: str) -> None:
    """No half of it: a client that came by the other family would meet a stranger. Nothing stays bound."""
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"cannot listen on .*\[::\]:{port}: Address already in use"):
            await LISTENERS[kind]("::", port).start()
        assert not await reaches("::1", port)


async def test_a_free_port_is_looked_for_in_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is free in the first family and taken in the second is given back, and another tried."""
    refusals = iter([errno.EADDRINUSE] * 3)
    bind_one = binding._bind_one

    def bind_or_refuse(family: int, address: tuple[Any, ...]) -> socket.socket:
        if family == socket.AF_INET and (number := next(refusals, 0)):
            raise OSError(number, "taken")
        return bind_one(family, address)

    monkeypatch.setattr(binding, "_bind_one", bind_or_refuse)
    for sock in (bound := await bind("::", 0)):
        sock.close()
    assert len(bound) == 2 and next(refusals, None) is None


@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
async def test_a_family_that_there_is_not_is_left_out(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not said to be served; if it is the only one, that is the fault."""
    bind_one = binding._bind_one

    def refuse(family: int, address: tuple[Any, ...]) -> socket.socket:
        if family == socket.AF_INET:
            raise OSError(number, "there is none")
        return bind_one(family, address)

    monkeypatch.setattr(binding, "_bind_one", refuse)
    (sock,) = await bind("::", 0)
    with sock:
        assert everywhere(addresses_of(sock)).endswith("every other IPv6 address of this machine, bound to ::")
    with pytest.raises(OSError, match="there is none"):
        await bind("127.0.0.1", 0)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no socket here is of both families")
def test_a_socket_that_is_handed_over_says_which_families_it_has() -> None:
    """systemd binds ``::`` once, for both, by default."""
    both = "; also at every other IPv4 and IPv6 address of this machine, bound to 0.0.0.0 and ::"
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as sock:
        assert everywhere(addresses_of(sock)) == both
    with socket.create_server(("::", 0), family=socket.AF_INET6) as sock:
        assert everywhere(addresses_of(sock)) == "; also at every other IPv6 address of this machine, bound to ::"
    with socket.create_server(("127.0.0.1", 0)) as sock:
        assert everywhere(addresses_of(sock)) == ""
