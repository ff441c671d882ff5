"""The headers that options and ``API_ACCESS_TOKEN`` add to every request."""

from __future__ import annotations

import argparse
import logging
import os

from relay.app.header_names import HEADERS_IGNORED, HEADERS_REFUSED
from relay.errors import ConfigError

__all__ = ["headers_of", "warn_of_headers"]

logger = logging.getLogger("relay")


def headers_of(options: argparse.Namespace) -> dict[str, str]:
    """Return the headers for every request, ``API_ACCESS_TOKEN`` among them. Raises ConfigError."""
    headers: dict[str, str] = {}
    for name, value in options.headers:
        _check_header_value(f"-H: the value of {name!r}", value)
        if name.lower() in HEADERS_REFUSED:
            raise ConfigError(f"-H: {name!r} belongs to the transport, which sets it where it is due; leave it out")
        if name.lower() not in HEADERS_IGNORED:
            headers[name] = value
    if token := os.environ.get("API_ACCESS_TOKEN"):
        _check_header_value("API_ACCESS_TOKEN", token)
        headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _check_header_value(what: str, value: str) -> None:
    if any(c in value for c in "\r\n\0"):
        raise ConfigError(f"{what} has a line break in it")


def warn_of_headers(options: argparse.Namespace) -> None:
    """Warn about each header that the relay ignores."""
    for name, _ in options.headers:
        if name.lower() in HEADERS_IGNORED:
            logger.warning("-H %s is set by the transport itself: ignored", name)
