"""What httpx does for every client and every request that no client without TLS needs: a quarter of a test's CPU."""

from __future__ import annotations

import importlib.util
import os
import sys

__all__ = ["NO_AUTHORITIES", "look_for_sniffio_once", "spare"]

NO_AUTHORITIES = {"SSL_CERT_FILE": None, "SSL_CERT_DIR": os.devnull}
"""The environment in which httpx reads no authority's certificate, 25 ms for each client; None stands for no value."""


def look_for_sniffio_once() -> None:
    """Note that ``sniffio`` is absent: httpcore looks for it in every folder, with each request."""
    if "sniffio" not in sys.modules and importlib.util.find_spec("sniffio") is None:
        sys.modules["sniffio"] = None  # type: ignore[assignment]  # an import of it fails at once


def spare() -> None:
    """Spare this program both."""
    look_for_sniffio_once()
    for name, value in NO_AUTHORITIES.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
