"""Find out what a silent TCP port speaks: try a TLS handshake, and an HTTP request."""

from __future__ import annotations

import asyncio
import ssl

__all__ = ["speaks_http", "speaks_tls"]

_PATIENCE = 0.5  # seconds for each: the port is open, and has had its time before


async def speaks_tls(host: str, port: int) -> bool:
    """Tell whether a server takes a TLS handshake, whatever its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # no data is sent
    try:
        async with asyncio.timeout(_PATIENCE):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True


async def speaks_http(host: str, port: int) -> bool:
    """Tell whether a server answers an HTTP request with an HTTP status."""
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(b"HEAD / HTTP/1.0\r\n\r\n")
                return await reader.readexactly(5) == b"HTTP/"
            finally:
                writer.transport.abort()
    except (OSError, EOFError, TimeoutError):
        return False
