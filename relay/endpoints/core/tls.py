"""TLS for dialled connections: the default context, and sentences for a person about what went wrong."""

from __future__ import annotations

import functools
import os
import ssl

__all__ = ["default_context", "describe_tls", "explain_tls", "is_refusal"]

# OpenSSL's X509_V_ERR_…: the chain does not end at a trusted authority. (18, 19: self-signed.)
_UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21, 27)
_NO_TLS = (
    "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "WRONG_VERSION_NUMBER",
)  # fmt: skip
_VERSIONS = ("NO_PROTOCOLS_AVAILABLE", "TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW")
_CERTIFICATE_WANTED = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
# How a server rejects our certificate. In TLS 1.3 the alert comes after our side has finished the handshake.
_CERTIFICATE_REFUSED = (
    "SSLV3_ALERT_BAD_CERTIFICATE", "SSLV3_ALERT_CERTIFICATE_EXPIRED", "SSLV3_ALERT_CERTIFICATE_REVOKED",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN", "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE", "TLSV1_ALERT_ACCESS_DENIED",
    "TLSV1_ALERT_DECRYPT_ERROR", "TLSV1_ALERT_UNKNOWN_CA",
)  # fmt: skip


def default_context() -> ssl.SSLContext:
    """Return the context that trusts the system's authorities, or those of ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``.

    It is made once, because reading the system's authorities takes 40 ms and each session may open a connection.
    """
    return _context_for(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@functools.lru_cache(maxsize=1)
def _context_for(file: str | None, directory: str | None) -> ssl.SSLContext:
    return ssl.create_default_context()  # OpenSSL reads both variables itself


def is_refusal(exc: BaseException | None) -> bool:
    """Tell whether a server rejected our certificate; it has then not read the request behind it."""
    while exc is not None:
        reason = getattr(exc, "reason", None)  # aiohttp's own SSLErrors have none
        if isinstance(exc, ssl.SSLError) and reason is not None:
            return reason == _CERTIFICATE_WANTED or reason in _CERTIFICATE_REFUSED
        exc = exc.__cause__
    return False


def explain_tls(exc: ssl.SSLError, plain: str) -> tuple[str, str]:
    """Return what failed and what to try; ``plain`` is the scheme of a server without TLS."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        is_stranger = exc.verify_code in _UNKNOWN_AUTHORITY
        advice = "--ca-file FILE names the authorities to trust" if is_stranger else ""
        return f"its certificate is not trusted: {exc.verify_message.rstrip('.')}", advice
    reason = exc.reason or str(exc)
    seen = f"the TLS handshake failed: {reason.replace('_', ' ').lower()}"
    if reason in _NO_TLS:
        return seen, f"if the server speaks without TLS, its address begins with {plain}"
    if reason in _VERSIONS:
        return seen, "the server must speak TLS 1.2 or later"
    if reason == _CERTIFICATE_WANTED:
        return "the server demands a client certificate", "--client-cert FILE"
    if reason in _CERTIFICATE_REFUSED:
        what = reason.partition("_ALERT_")[2].replace("_", " ").lower()
        return f"the server does not accept our client certificate ({what})", "check --client-cert"
    return seen, ""


def describe_tls(exc: ssl.SSLError, plain: str) -> str:
    """Return what failed and what to try, in one line."""
    return "; ".join(part for part in explain_tls(exc, plain) if part)
