"""Import aiohttp without the parts that the program does not need: 50 ms and 2 MB less at each start.

On import aiohttp makes a TLS context and reads the system's certificates into it, whether or not anything will be
asked by TLS. The relay's own endpoints make their context when they need one (``connector``), so in the program, and
only there, that first one is left empty. Its server also reads the system's types of files, and the relay serves no
files. Not for embedding: a host program may use aiohttp's own.
"""

from __future__ import annotations

import contextlib
import mimetypes
import os
from collections.abc import Iterator

__all__ = ["import_aiohttp"]

_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")  # where OpenSSL looks for the system's certificates


def import_aiohttp() -> None:
    """Import aiohttp; only the program may call this, before anything else has imported it."""
    mimetypes.knownfiles = []  # the server's modules come later, or never
    with _no_certificates():
        import aiohttp  # noqa: F401


@contextlib.contextmanager
def _no_certificates() -> Iterator[None]:
    kept = {name: os.environ.get(name) for name in _CERTIFICATES}
    os.environ.update(dict.fromkeys(_CERTIFICATES, os.devnull))
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
