"""Every place shows an address without its login, its query and its fragment."""

from __future__ import annotations

import logging

import pytest

from relay import balance, connect, fallback
from relay.addresses import fault_of_url, shown_address, without_logins
from relay.app.doctor.settings import DoctorSettings
from relay.app.named_server import NamedServer
from relay.app.options.connect_args import parse_target
from relay.app.run.failover import PoolTarget
from relay.app.run.targets import AddressTarget, RemoteTarget
from relay.app.secrets.values import secrets_in
from relay.app.settings import BridgeSettings, PoolSettings
from relay.app.specs import parse_listen
from relay.auth.outbound.logins import check_token_url
from relay.endpoints.combined.pool import Retry
from relay.endpoints.core.dialling import DEFAULT_DIALLING
from relay.endpoints.socket.tcp import parse_address
from relay.errors import ConfigError, RelayError
from relay.frames.frame import Frame

SECRETS = ("us3r", "s3cret", "t0ken")
HOSTS = ("ws://", "wss://", "http://", "https://")
CLOSED = "127.0.0.1:9"  # the port of a service that nobody runs


def _address(scheme: str) -> str:
    return f"{scheme}us3r:s3cret@{CLOSED}/mcp?access=t0ken#t0ken"


def _assert_nothing_shown(text: object) -> None:
    assert not [secret for secret in SECRETS if secret in str(text)], text


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("ws://u:p@h:1/mcp?token=x#y", "ws://h:1/mcp"),
        ("http://u@h", "http://h"),
        ("http://h/@scope/server?q=a@b", "http://h/@scope/server"),
        ("http://h?token=a@b", "http://h"),
        ("http://[::1]:8/@x", "http://[::1]:8/@x"),
        ("http://u:p/w@h:1/x", "http://h:1/x"),
        ("http://u:p?w@h:1/x?t=1", "http://h:1/x"),
        ("http://u:p#w@h", "http://h"),
        ("http://u:p@w@h/x", "http://h/x"),
        ("tcp://u:p@h:1", "tcp://h:1"),
        ("unix:/run/@x", "unix:/run/@x"),
        ("stdio:", "stdio:"),
        ("server", "server"),
    ],
)
def test_address_is_shown_without_secrets(address: str, shown: str) -> None:
    """A login, a query and a fragment are left out, even if the login makes the address no URL."""
    assert shown_address(address) == shown
    assert without_logins(f"failed at '{address}', again") == f"failed at '{shown}', again"


@pytest.mark.parametrize("scheme", HOSTS)
def test_status_and_names_show_no_secret(scheme: str) -> None:
    """``/status``, names of endpoints and of choices, and the reprs of settings hold no login and no query."""
    address = _address(scheme)
    is_socket = scheme.startswith("ws")
    target = AddressTarget(address, DEFAULT_DIALLING) if is_socket else RemoteTarget(address, DEFAULT_DIALLING)
    choice = PoolTarget(
        [target, target], strategy="round-robin", retry=Retry(), limits=DEFAULT_DIALLING.limits, ends_with_home=False
    )
    for shown in (target.name, target.status(), choice.name, choice.status(), connect(address).name):
        _assert_nothing_shown(shown)
        assert "127.0.0.1:9" in str(shown)
    for hidden in (
        BridgeSettings(url=address),
        DoctorSettings(target=address),
        NamedServer(name="x", url=address, headers={"Authorization": "s3cret"}),
        PoolSettings([address], "in-order", Retry()),
    ):
        assert type(hidden).__name__ in repr(hidden)
        _assert_nothing_shown(hidden)


@pytest.mark.parametrize("scheme", HOSTS)
@pytest.mark.parametrize("way", ["connect", "fallback", "balance", "target"])
async def test_errors_to_clients_show_no_secret(scheme: str, way: str, caplog: pytest.LogCaptureFixture) -> None:
    """What a client, and the operator's log, are told of a server that cannot be reached has no secret in it."""
    caplog.set_level(logging.DEBUG)
    address = _address(scheme)
    balancer = balance(address, address, retry_attempts=1)
    endpoint = {
        "connect": lambda: connect(address),
        "fallback": lambda: fallback(address, address, retry_attempts=1),
        "balance": balancer.session,
        "target": AddressTarget(address, DEFAULT_DIALLING).endpoint,
    }[way]()
    said: list[object] = []
    try:
        await endpoint.send([Frame(b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}')])
        said += [frame.raw for frame in await endpoint.receive()]
    except RelayError as exc:
        said.append(exc)
    finally:
        await endpoint.aclose()
        await balancer.aclose()
    assert CLOSED in str(said), said
    _assert_nothing_shown(said)
    _assert_nothing_shown(caplog.text)


@pytest.mark.parametrize(
    "address",
    [
        "http://us3r:s3cret/t0ken@host/mcp",
        "ws://us3r:s3cret@host:port/mcp?t0ken",
        "http://us3r:s3cret@[::1/mcp?t0ken",
        "https://us3r:s3cret@/mcp?t0ken",
        "tcp://us3r:s3cret@host:x",
        "tcp://us3r:s3cret@host:1",
        "ftp://us3r:s3cret@host:1/?t0ken",
    ],
)
def test_refusals_of_addresses_show_no_secret(address: str) -> None:
    """An address that is refused is named without its login: the exception's text quotes nothing of it either."""
    refused = 0
    for take in (connect, parse_listen, parse_address, check_token_url, lambda text: parse_target(text, "-e", "stdio")):
        try:
            take(address)
        except ConfigError as exc:
            refused += 1
            _assert_nothing_shown(exc)
    assert refused >= 3


def test_library_text_is_not_repeated() -> None:
    """Python quotes the port that is none, which may be half a password."""
    assert fault_of_url(ValueError("Port could not be cast to integer value as 's3cret'")) == (
        "its port is not a number from 0 to 65535"
    )


def test_token_as_user_is_a_secret() -> None:
    """A login that is a user alone, and a password as it is spelt in the address, are masked in logs."""
    assert "t0ken-of-mine" in secrets_in((), {}, "https://t0ken-of-mine@host/mcp")
    assert {"p%40ss-word", "p@ss-word"} <= set(secrets_in((), {}, "https://u:p%40ss-word@host/mcp"))
