"""Describe an error page to a person: its message, its redirect, its Retry-After and its content coding.

An error page is untrusted: it may be long, repeat secrets, or contain control characters for a terminal.
"""

from __future__ import annotations

import contextlib
import re
from typing import Protocol

import msgspec
from yarl import URL

from relay.addresses import shown_address
from relay.endpoints.http.address import join_url
from relay.endpoints.http.client.content_coding import coding_of, describe_coding, is_readable
from relay.endpoints.http.media import without_bom
from relay.frames.strictness import UNREADABLE

__all__ = ["ErrorPage", "describe_page", "is_redirect", "page_of"]

_SHOWN_VALUE = 200
_TITLE = re.compile(r"<title[^<>]{0,200}>([^<]{1,1000})", re.IGNORECASE)
_CHARSET = re.compile(  # the charsets that pages use; Python has others, and some of them decode slowly
    r"^text/(?:html|plain)\s*;\s*charset=\"?((?:iso-8859|windows|koi8|euc|gb|big5|shift_jis|latin)[\w-]{0,8})\b",
    re.IGNORECASE,
)
_REDIRECTS = (301, 302, 303, 307, 308)


class _Headers(Protocol):
    def get(self, name: str, /) -> str | None:
        """Return one header."""


class _Response(Protocol):
    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> _Headers:
        """The headers."""


class ErrorPage(bytes):
    """The first bytes of an error page; ``notes`` holds what its headers add."""

    notes: tuple[str, ...] = ()
    is_redirect = False


def is_redirect(status: int) -> bool:
    """Tell whether a status redirects the request."""
    return status in _REDIRECTS


def page_of(response: _Response, body: bytes, asked: URL) -> ErrorPage:
    """Return the error page that a request for ``asked`` got."""
    charset = _CHARSET.search(response.headers.get("Content-Type") or "")
    if charset is not None:
        with contextlib.suppress(LookupError, UnicodeError):  # Python does not know the charset
            body = body.decode(charset[1], "replace").encode()
    page = ErrorPage(without_bom(body))
    page.is_redirect = is_redirect(response.status)
    page.notes = tuple(_notes(response, asked))
    return page


def _notes(response: _Response, asked: URL) -> list[str]:
    headers, notes = response.headers, []
    location = headers.get("Location")
    if is_redirect(response.status) or (location is not None and 300 <= response.status < 400):
        where = "" if location is None else f"this one leads to {_shown_location(location, asked)}: "
        notes.append(f"redirects are not followed; {where}configure the final address")
    if (wait := headers.get("Retry-After")) is not None:
        notes.append(f"Retry-After: {_printable(wait)}{' s' if wait.strip().isdecimal() else ''}")
    if not is_readable(coding := coding_of(headers)):
        notes.append(describe_coding(coding))
    return notes


def _shown_location(location: str, asked: URL) -> str:
    """Return the target of a redirect, without its login and its query."""
    try:
        url = join_url(asked, location)
        shown = shown_address(str(url)) + ("?…" if url.raw_query_string else "")
    except ValueError:
        shown = shown_address(location)
    return _printable(shown)


def describe_page(page: bytes) -> str:
    """Return an error page's JSON message, title or first line, and the notes from its headers."""
    said = () if isinstance(page, ErrorPage) and page.is_redirect else (_message_in(page),)
    notes = page.notes if isinstance(page, ErrorPage) else ()
    return "; ".join(one for one in (*said, *notes) if one)


class _ErrorObject(msgspec.Struct):
    message: str = ""


class _ErrorBody(msgspec.Struct):
    error: _ErrorObject | str | None = None
    detail: str | None = None


_decode_error_body = msgspec.json.Decoder(_ErrorBody).decode


def _message_in(body: bytes) -> str:
    """Return the message of a JSON error of a known kind, the title of an HTML page, or the first line."""
    body = body.strip()
    with contextlib.suppress(*UNREADABLE):
        parsed = _decode_error_body(body)
        text = parsed.error.message if isinstance(parsed.error, _ErrorObject) else parsed.error or parsed.detail
        if text:
            return text
    if body.startswith(b"<"):
        title = _TITLE.search(body.decode("utf-8", "replace"))
        if title is None:
            return ""
        from html import unescape  # 2 ms, for a table of all entities

        return _printable(" ".join(unescape(title[1]).split()))
    line = body.partition(b"\n")[0].decode("utf-8", "replace")
    return "".join(c if c.isprintable() else " " for c in line)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text.strip())[:_SHOWN_VALUE]
