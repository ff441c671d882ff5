"""Name the principal of a client by its certificate, which the TLS handshake has verified. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["name_in_certificate"]


def name_in_certificate(certificate: Mapping[str, Any] | None) -> str | None:
    """Return the first alternative name in a certificate, else its common name; None if it has neither.

    ``certificate`` is what ``ssl.SSLSocket.getpeercert`` returns.
    """
    if not certificate:
        return None
    for _, name in certificate.get("subjectAltName", ()):
        return str(name)
    for part in certificate.get("subject", ()):
        for kind, name in part:
            if kind == "commonName":
                return str(name)
    return None
