"""Keep one server's cookies as RFC 6265 requires, and send them back byte for byte.

A jar is for one origin and one client. A load balancer uses a cookie to keep a session on one server, so two clients
with one jar would share that server's session. The jar does no I/O, and the caller passes the clock.
"""

from __future__ import annotations

import calendar
import copy
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec

__all__ = ["CookieJar", "SessionJars"]

_MAX_COOKIES = 50  # RFC 6265, 6.1: at least 50 per domain
_MAX_COOKIE = 4096  # bytes of a name and its value; RFC 6265, 6.1: at least 4096
_MAX_HEADER = 16 * 1024  # bytes of the whole header; more than servers accept
_MAX_ATTRIBUTE = 1024
_MAX_JARS = 16 * 1024 * 1024  # bytes of the jars of all sessions: some 50,000 with one sticky cookie each
_LONGEST_AGE = 10**10
_JAR_OVERHEAD = 1024  # bytes that a jar takes in addition to its cookies

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_UNSENDABLE = re.compile(r"[\ud800-\udfff]")  # bytes that are not UTF-8: aiohttp cannot write them unchanged
_BLANKS = " \t"
_MAX_AGE = re.compile(r"-?[0-9]+")
_IPV4 = re.compile(r"[0-9]+(\.[0-9]+){3}")
_DATE_PARTS = re.compile(r"[^\x09\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")
_TIME = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\D|$)", re.ASCII)
_DAY = re.compile(r"(\d{1,2})(?:\D|$)", re.ASCII)
_YEAR = re.compile(r"(\d{2,4})(?:\D|$)", re.ASCII)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


class _Cookie(msgspec.Struct):
    name: str
    value: str
    path: str
    domain: str
    is_secure: bool
    expires: float | None
    number: int = 0
    """The order of creation: among cookies with paths of equal length, the older one goes first."""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.name, self.domain, self.path

    @property
    def size(self) -> int:
        return len(self.name) + len(self.value) + len(self.path)


class CookieJar:
    """The cookies that one server has set for one client."""

    def __init__(self, host: str, *, is_secure: bool, own: str = "", clock: Callable[[], float] = time.time) -> None:
        """Keep cookies of ``host``. ``own`` is the operator's Cookie header, which precedes them in every request."""
        self._host = host.lower().strip("[]")
        self._is_secure = is_secure
        self._own = own
        self._clock = clock
        self.kept: dict[tuple[str, str, str], _Cookie] = {}
        """The cookies; some of them may have expired."""
        self._created = 0
        self._made: dict[str, tuple[str, float]] = {}
        """The cached header for each path, and the time until which the header is valid."""

    @property
    def size(self) -> int:
        """The bytes of all cookies."""
        return sum(cookie.size for cookie in self.kept.values())

    @property
    def secrets(self) -> list[str]:
        """The cookie values, which no error may show."""
        return [cookie.value for cookie in self.kept.values()]

    # RFC 6265, 5.2 and 5.3: what a server sets.

    def take(self, lines: Sequence[str], path: str) -> None:
        """Keep the cookies of an answer's Set-Cookie headers; ``path`` is the path of the request."""
        for line in lines:
            self._take(line, path.partition("?")[0])
        self._made.clear()
        self._drop_surplus()

    def update(self, other: CookieJar) -> None:
        """Keep the cookies of another jar for the same server and client."""
        for cookie in other.kept.values():
            self._keep(copy.copy(cookie))
        self._made.clear()
        self._drop_surplus()

    def _take(self, line: str, request_path: str) -> None:
        pair, *rest = line.split(";")
        name, is_pair, value = pair.partition("=")
        name, value = name.strip(_BLANKS), value.strip(_BLANKS)
        if not is_pair or not name or _CONTROL.search(line) or _UNSENDABLE.search(pair):
            return
        if len(name.encode()) + len(value.encode()) > _MAX_COOKIE:
            return
        attributes = _attributes(rest)
        domain = attributes.get("domain", "").removeprefix(".").lower()
        if domain and not self._is_of(domain):
            return
        path = attributes.get("path", "")
        path = path if path.startswith("/") else _default_path(request_path)
        expires = self._end_of(attributes)
        self._keep(_Cookie(name, value, path, domain, "secure" in attributes, expires))

    def _keep(self, cookie: _Cookie) -> None:
        before = self.kept.pop(cookie.key, None)
        if cookie.expires is not None and cookie.expires <= self._clock():
            return
        self._created += 1
        cookie.number = self._created if before is None else before.number
        self.kept[cookie.key] = cookie

    def _is_of(self, domain: str) -> bool:
        """Tell whether the host is in a domain (RFC 6265, 5.1.3). An IP address matches only itself."""
        if domain == self._host:
            return True
        is_address = ":" in self._host or _IPV4.fullmatch(self._host) is not None
        return not is_address and self._host.endswith("." + domain)

    def _end_of(self, attributes: dict[str, str]) -> float | None:
        """Return when a cookie expires; None means at the end of the session. Max-Age takes precedence over Expires."""
        age = attributes.get("max-age", "")
        if _MAX_AGE.fullmatch(age):
            seconds = min(int(age), _LONGEST_AGE)
            return self._clock() + seconds if seconds > 0 else float("-inf")
        return _parse_date(attributes["expires"]) if "expires" in attributes else None

    def _drop_surplus(self) -> None:
        """Enforce the bounds: drop the expired cookies first, then the oldest ones."""
        now = self._clock()
        for key in [key for key, one in self.kept.items() if one.expires is not None and one.expires <= now]:
            del self.kept[key]
        while len(self.kept) > _MAX_COOKIES or self.size > _MAX_HEADER:
            del self.kept[next(iter(self.kept))]

    # RFC 6265, 5.4: what is sent.

    def header(self, path: str) -> str:
        """Return the Cookie header of a request for ``path``, including the operator's; "" if there are no cookies."""
        if not self.kept:
            return self._own
        now = self._clock()
        made, until = self._made.get(path, ("", float("-inf")))
        if now < until:
            return made
        sent = [one for one in self.kept.values() if self._is_sent(one, path.partition("?")[0], now)]
        sent.sort(key=lambda one: (-len(one.path), one.number))
        names = {one.name for one in sent}
        own = [pair.strip() for pair in self._own.split(";") if pair.partition("=")[0].strip() not in names]
        header = "; ".join([*(pair for pair in own if pair), *(f"{one.name}={one.value}" for one in sent)])
        if len(self._made) >= _MAX_COOKIES:
            self._made.clear()
        self._made[path] = header, min([one.expires for one in sent if one.expires is not None], default=float("inf"))
        return header

    def _is_sent(self, cookie: _Cookie, path: str, now: float) -> bool:
        if cookie.expires is not None and cookie.expires <= now:
            return False
        return (self._is_secure or not cookie.is_secure) and _is_path_in(path or "/", cookie.path)


class SessionJars:
    """One jar per ``Mcp-Session-Id`` of one server. If all jars grow too large, the least recently used one goes."""

    def __init__(self, make: Callable[[], CookieJar]) -> None:
        """Create new jars with ``make``."""
        self._make = make
        self.kept: OrderedDict[str, CookieJar] = OrderedDict()
        self._sizes: dict[str, int] = {}
        self._size = 0

    def find(self, session_id: str | None) -> CookieJar:
        """Return the jar of a session, or a new empty jar if the session has none."""
        jar = self.kept.get(session_id) if session_id is not None and self.kept else None
        if jar is None:
            return self._make()
        assert session_id is not None, "it has a jar"
        self.kept.move_to_end(session_id)
        return jar

    def keep(self, session_id: str, jar: CookieJar, *, is_known: bool) -> None:
        """Keep the cookies that an answer has set in a session.

        Only a session that the server has confirmed (``is_known``) gets a jar. Otherwise anyone could fill the jars
        with invented sessions.
        """
        kept = self.kept.get(session_id)
        if kept is None:
            if not is_known or not jar.kept:
                return
            self.kept[session_id] = kept = jar
        elif kept is not jar:
            kept.update(jar)
        size = kept.size + _JAR_OVERHEAD + len(session_id)
        self._size += size - self._sizes.get(session_id, 0)
        self._sizes[session_id] = size
        while self._size > _MAX_JARS:
            self.forget(next(iter(self.kept)))

    def forget(self, session_id: str) -> None:
        """Forget a session that has ended."""
        if self.kept.pop(session_id, None) is not None:
            self._size -= self._sizes.pop(session_id)


def _attributes(parts: Sequence[str]) -> dict[str, str]:
    """Return the attributes of a Set-Cookie header by lower-case name; the last attribute of a name wins."""
    found = {}
    for part in parts:
        name, _, value = part.partition("=")
        if len(value) <= _MAX_ATTRIBUTE:
            found[name.strip(_BLANKS).lower()] = value.strip(_BLANKS)
    return found


def _default_path(request_path: str) -> str:
    """Return the path of a cookie that names none (RFC 6265, 5.1.4)."""
    return (request_path.rpartition("/")[0] if request_path.startswith("/") else "") or "/"


def _is_path_in(path: str, of_cookie: str) -> bool:
    """Tell whether a request's path is within a cookie's path (RFC 6265, 5.1.4)."""
    if not path.startswith(of_cookie):
        return False
    return path == of_cookie or of_cookie.endswith("/") or path[len(of_cookie)] == "/"


def _parse_date(text: str) -> float | None:
    """Read a date as loosely as RFC 6265, 5.1.1 requires; return None if the text is no date."""
    clock: tuple[int, ...] | None = None
    day = month = year = None
    for part in _DATE_PARTS.findall(text[:128]):
        if clock is None and (found := _TIME.match(part)):
            clock = tuple(map(int, found.groups()))
        elif day is None and (found := _DAY.match(part)):
            day = int(found[1])
        elif month is None and part[:3].lower() in _MONTHS:
            month = _MONTHS.index(part[:3].lower()) + 1
        elif year is None and (found := _YEAR.match(part)):
            year = int(found[1])
    if clock is None or day is None or month is None or year is None:
        return None
    year += 1900 if 70 <= year <= 99 else 2000 if year <= 69 else 0
    hour, minute, second = clock
    if year < 1601 or hour > 23 or minute > 59 or second > 59 or not 1 <= day <= calendar.monthrange(year, month)[1]:
        return None
    return float(calendar.timegm((year, month, day, hour, minute, second)))
