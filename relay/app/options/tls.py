"""The options of TLS, towards servers and towards clients.

The relay reads the files at start-up, so that a wrong file is a line on stderr and not the first client's failure.
"""

from __future__ import annotations

import argparse
import logging
import os
import ssl
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from relay.addresses import shown_address
from relay.app.log.stderr import StderrSink, say
from relay.app.options.access import has_login
from relay.app.options.admission import open_hosts
from relay.app.specs import ListenSpec, is_address
from relay.errors import ConfigError

__all__ = [
    "OF_LISTENING",
    "add_dial_tls_options",
    "add_listen_tls_options",
    "dial_tls",
    "listen_tls",
    "unauthenticated",
    "with_tls",
]

logger = logging.getLogger("relay")

OF_LISTENING = {"tls_cert": "--tls-cert", "tls_key": "--tls-key", "tls_client_ca": "--tls-client-ca"}
_OF_DIALLING = {
    "ca_file": "--ca-file",
    "client_cert": "--client-cert",
    "client_key": "--client-key",
    "verify_ssl": "--verify-ssl",
}
_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")
_WITH_TLS = ("https://", "wss://", "tls://")


def add_dial_tls_options(group: Any) -> None:
    """Add the options of TLS towards servers."""
    group.add_argument("--ca-file", metavar="FILE", help="trust these authorities (PEM), not the system's")
    group.add_argument("--client-cert", metavar="FILE", help="show this certificate (PEM, its key may be in it)")
    group.add_argument("--client-key", metavar="FILE", help="the key of --client-cert")
    group.add_argument(
        "--verify-ssl", nargs="?", const=True, type=_verification, metavar="VALUE",
        help="false: trust any certificate, which is insecure; a PEM file: as --ca-file; by default the system's",
    )  # fmt: skip
    group.add_argument(
        "--no-verify-ssl", dest="verify_ssl", action="store_const", const=False, help="as --verify-ssl false"
    )


def _verification(text: str) -> bool | str:
    if is_address(text):
        raise argparse.ArgumentTypeError(
            f"{shown_address(text)!r} is an address: put it before --verify-ssl, or write --verify-ssl=true"
        )
    word = text.strip().lower()
    return word in _TRUE if word in (*_TRUE, *_FALSE) else text


def add_listen_tls_options(group: Any) -> None:
    """Add what makes listeners speak TLS."""
    group.add_argument(
        "--tls-cert", metavar="FILE", help="speak TLS with this certificate (PEM with its chain; its key may be in it)"
    )
    group.add_argument("--tls-key", metavar="FILE", help="the key of --tls-cert")
    group.add_argument(
        "--tls-client-ca", metavar="FILE", help="admit only clients whose certificate these authorities have signed"
    )


def dial_tls(options: argparse.Namespace, addresses: Iterable[str], sink: StderrSink) -> ssl.SSLContext | None:
    """Return the TLS context for servers at these addresses; None: the default. Raises ConfigError."""
    given = [flag for name, flag in _OF_DIALLING.items() if getattr(options, name) is not None]
    if not given:
        return None
    if not any(address.lower().startswith(_WITH_TLS) for address in addresses):
        logger.warning("%s: no effect where no server has an address with TLS: ignored", ", ".join(given))
        return None
    from relay.app.options.certificates import dialling_context

    verify, ca_file = options.verify_ssl, options.ca_file
    if ca_file is not None and verify not in (None, True):
        raise ConfigError("--ca-file and --verify-ssl contradict each other: leave one out")
    if options.client_key is not None and options.client_cert is None:
        raise ConfigError("--client-key has no effect without --client-cert")
    if isinstance(verify, str):
        if not os.path.exists(verify):
            raise ConfigError(f"--verify-ssl: {verify!r}: expected true, false or a PEM file; there is no such file")
        authorities, flag = verify, "--verify-ssl"
    else:
        authorities, flag = ca_file, "--ca-file"
    context = dialling_context(authorities, flag, options.client_cert, options.client_key)
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        say(
            sink,
            "WARNING: certificates of servers are not verified: anyone in between can read and change all traffic",
        )
    return context


def listen_tls(options: argparse.Namespace, listens: Sequence[ListenSpec]) -> ssl.SSLContext | None:
    """Return the TLS context of listeners; None: without TLS. Raises ConfigError."""
    if options.tls_cert is None:
        for name, flag in OF_LISTENING.items():
            if getattr(options, name) is not None:
                raise ConfigError(f"{flag} has no effect without --tls-cert FILE, the certificate to listen with")
        return None
    if not any(map(_can_be_tls, listens)):
        logger.warning("--tls-cert has no effect for a Unix socket or stdio: ignored")
        return None
    from relay.app.options.certificates import listening_context

    return listening_context(options.tls_cert, options.tls_key, options.tls_client_ca)


def _can_be_tls(spec: ListenSpec) -> bool:
    """Tell whether an address is on the network: a Unix socket, inherited or not, has no TLS."""
    return spec.kind in ("http", "tcp") and not spec.path


def with_tls(listens: Sequence[ListenSpec], options: argparse.Namespace) -> list[ListenSpec]:
    """Return the addresses, with TLS if ``--tls-cert`` is given. Raises ConfigError if one needs that option."""
    if options.tls_cert is not None:
        return [msgspec.structs.replace(one, is_tls=_can_be_tls(one)) for one in listens]
    for one in listens:
        if one.is_tls:
            raise ConfigError(f"--listen {one}: TLS needs a certificate: --tls-cert FILE (and --tls-key FILE)")
    return list(listens)


def unauthenticated(listens: Sequence[ListenSpec], options: argparse.Namespace) -> list[str]:
    """Return the hosts beyond this machine where anyone who reaches them would be admitted.

    A client whose certificate was demanded and verified has been authenticated, on every path of the listener. Only
    HTTP listeners can ask for another login.
    """
    if options.tls_client_ca is not None:
        return []
    return open_hosts([spec for spec in listens if spec.kind != "http"] if has_login(options) else listens)
