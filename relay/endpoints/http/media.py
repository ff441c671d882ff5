"""Read what HTTP headers say about a message: its media type, Accept, and headers that are lists."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multidict import MultiMapping

__all__ = ["EVENT_STREAM", "JSON", "accepts", "listed", "media_type", "without_bom"]


JSON = "application/json"
EVENT_STREAM = "text/event-stream"
_BOM = b"\xef\xbb\xbf"
_EXCLUDES = re.compile(r"q=0(?:\.0*)?")


def without_bom(body: bytes) -> bytes:
    """Return a JSON body without a leading byte order mark, which RFC 8259, 8.1 forbids but some servers send."""
    return body.removeprefix(_BOM)


def listed(headers: MultiMapping[str], name: str) -> str | None:
    """Return a list header with all its lines joined (RFC 9110 §5.3); None if the header is missing.

    ``headers`` must look up names without regard to case, as aiohttp's do.
    """
    values = headers.getall(name, None)
    return None if values is None else ", ".join(values)


@functools.lru_cache(128)  # a client sends the same value with each request
def media_type(value: str | None) -> str:
    """Return the media type of a Content-Type header, in lower case and without parameters."""
    return (value or "").partition(";")[0].strip().lower()


@functools.lru_cache(128)
def accepts(accept: str | None, wanted: str) -> bool:
    """Tell whether an Accept header admits ``wanted``; a missing header admits everything (RFC 9110 §12.5.1)."""
    if accept is None:
        return True
    admitted: dict[str, bool] = {}
    for element in accept.lower().split(","):
        name, *parameters = (part.strip() for part in element.split(";"))
        admitted[name] = not any(_EXCLUDES.fullmatch(parameter) for parameter in parameters)
    family = wanted.partition("/")[0] + "/*"
    return next((admitted[name] for name in (wanted, family, "*/*") if name in admitted), False)
