"""Turn files with certificates and keys into TLS contexts, or into one line that names the wrong file and why.

OpenSSL reads the files; the relay looks for the reason only if that fails. TLS 1.2 is the oldest version spoken.
"""

from __future__ import annotations

import logging
import os
import ssl
from typing import NoReturn

from relay.errors import ConfigError

__all__ = ["dialling_context", "listening_context"]


logger = logging.getLogger("relay")


class _ToldSSLObject(ssl.SSLObject):
    """The TLS of one connection; it logs why a handshake failed, which the event loop would not."""

    def do_handshake(self) -> None:
        """Continue the handshake."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as exc:
            logger.info("a client was turned away: the TLS handshake failed: %s", _reason(exc))
            raise


class _ListeningContext(ssl.SSLContext):
    sslobject_class = _ToldSSLObject


class _Encrypted(Exception):
    """OpenSSL asks for the password of a key; by default it would ask on the terminal."""


def listening_context(cert: str, key: str | None, client_ca: str | None) -> ssl.SSLContext:
    """Return the context of ``--tls-cert``, ``--tls-key`` and ``--tls-client-ca``. Raises ConfigError."""
    context = _modern(_ListeningContext(ssl.PROTOCOL_TLS_SERVER))
    _load_pair(context, "--tls-cert", cert, "--tls-key", key)
    if client_ca is not None:
        _load_authorities(context, "--tls-client-ca", client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def dialling_context(authorities: str | None, flag: str, cert: str | None, key: str | None) -> ssl.SSLContext:
    """Return a context that trusts ``authorities``, which ``flag`` named, or the system's. Raises ConfigError.

    It shows the certificate of ``--client-cert`` to a server that asks for one.
    """
    if authorities is None:
        context = ssl.create_default_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _load_authorities(context, flag, authorities)
    if cert is not None:
        _load_pair(context, "--client-cert", cert, "--client-key", key)
    return _modern(context)


def _modern(context: ssl.SSLContext) -> ssl.SSLContext:
    if context.minimum_version < ssl.TLSVersion.TLSv1_2:  # the system's policy may be stricter
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _load_authorities(context: ssl.SSLContext, flag: str, path: str) -> None:
    try:
        if os.path.isdir(path):
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except (OSError, ValueError) as exc:
        _check_pem(flag, path, "CERTIFICATE", "a certificate")
        raise ConfigError(f"{flag}: {path!r}: {_reason(exc)}") from exc


def _load_pair(context: ssl.SSLContext, cert_flag: str, cert: str, key_flag: str, key: str | None) -> None:
    flag, path = (cert_flag, cert) if key is None else (key_flag, key)  # the file that holds the key
    try:
        context.load_cert_chain(cert, key, password=_refuse_to_ask)
    except _Encrypted as exc:
        advice = "take a key without a password: openssl pkey -in FILE -out FILE2"
        raise ConfigError(f"{flag}: the key in {path!r} is encrypted; {advice}") from exc
    except (OSError, ValueError) as exc:
        _check_pem(cert_flag, cert, "CERTIFICATE", "a certificate")
        has_none = f"a private key; {key_flag} FILE names another file" if key is None else "a private key"
        _check_pem(flag, path, "PRIVATE KEY", has_none)
        if isinstance(exc, ssl.SSLError) and exc.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
            raise ConfigError(f"{flag}: the key in {path!r} is not that of the certificate in {cert!r}") from exc
        raise ConfigError(f"{cert_flag}: {cert!r} cannot be used: {_reason(exc)}") from exc


def _refuse_to_ask() -> NoReturn:
    raise _Encrypted


def _check_pem(flag: str, path: str, label: str, what: str) -> None:
    """Check that a file can be read and holds a part of this kind. Raises ConfigError."""
    try:
        with open(path, "rb") as file:
            text = file.read(4 * 1024 * 1024)
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{flag}: {path!r} cannot be read: {_reason(exc)}") from None
    if b"-----BEGIN " not in text:
        raise ConfigError(f"{flag}: {path!r} is not a PEM file: it has no line -----BEGIN {label}-----")
    if f"{label}-----".encode() not in text:
        raise ConfigError(f"{flag}: {path!r} does not hold {what}")


def _reason(exc: OSError | ValueError) -> str:
    if isinstance(exc, ssl.SSLError):
        return (exc.reason or str(exc)).replace("_", " ").lower()
    return (isinstance(exc, OSError) and exc.strerror) or str(exc)
