"""How often a request is sent again after a refusal, for all ways to a server.

A 401 means that the server executed nothing, so the same frame may be sent again. The law, per request: one renewal of
each kind that the credentials know (a refresh, then a login), and as many for a 403 that names a missing scope. If the
last one did not help either, the server refuses this login: refusals then stand for ``PAUSE`` seconds, for every
request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from relay.addresses import shown_address
from relay.auth.outbound.credentials import CHALLENGES, Credentials, LoginFailed, Refusal
from relay.errors import LoginRefused
from relay.frames.frame import Frame
from relay.limits import DEFAULT_LIMITS, Limits

__all__ = ["PAUSE", "ServerLogin", "Tries", "challenges_in"]

logger = logging.getLogger("relay")

PAUSE = 10.0
"""Seconds without a renewal after the server has refused headers that were new: it would refuse the next ones, too."""
_REFUSED = 8  # more than one request can use
_MISSING_SCOPE = "insufficient_scope"  # RFC 6750, 3.1; the credentials read the challenge in full
_NONE: Mapping[str, str] = {}


class ServerLogin:
    """The credentials for one server, and the requests that wait for new ones."""

    def __init__(
        self,
        credentials: Credentials,
        url: str,
        *,
        limits: Limits = DEFAULT_LIMITS,
        may_ask: bool = True,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Show ``credentials`` to the server at ``url``, and to no other origin.

        ``may_ask``: whether a person may be asked to log in.
        """
        self.credentials = credentials
        self.current = credentials.current
        self.covers = credentials.covers
        self._name = shown_address(url)
        self._origin = _origin_of(url)
        self._limits = limits
        self._may_ask = may_ask
        self._clock = clock
        self._stands_until = 0.0
        self._renewals_under_way = 0
        self._waiting = 0
        self._waiting_bytes = 0
        self._changed = asyncio.Event()
        self._refused: deque[str] = deque(maxlen=_REFUSED)
        self._logged = ""
        self.failure: LoginFailed | None = None
        """Why the last renewal failed; None after a successful one."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secrets that no message may show, with those that the server has refused of late."""
        return (*self.credentials.secrets, *self._refused)

    def tries(
        self,
        frame: Frame | None = None,
        *,
        sent: Mapping[str, str] | None = None,
        is_background: bool = False,
        patience: asyncio.Timeout | None = None,
    ) -> Tries:
        """Return the tries of one request, with or without a frame.

        ``sent``: the headers with which it has been sent already. ``is_background``: no person may be asked.
        ``patience``: a deadline, in which the time for a login does not count.
        """
        tries = Tries(self, frame, sent or _NONE)
        tries.is_background, tries.patience = is_background or not self._may_ask, patience
        return tries

    def for_url(self, url: str) -> ServerLogin | None:
        """Return this login if ``url`` is of the server's origin, by HTTP or by WebSocket."""
        return self if self.is_for(url) else None

    def is_for(self, url: str) -> bool:
        """Tell whether ``url`` is of the server's origin, by HTTP or by WebSocket."""
        return _origin_of(url) == self._origin

    @property
    def is_under_way(self) -> bool:
        """Whether a request waits for new headers."""
        return self._renewals_under_way > 0

    def changed(self) -> Coroutine[Any, Any, object]:
        """Return what waits until ``is_under_way`` changes, counted from this call."""
        return self._changed.wait()

    def may_wait(self, size: int) -> bool:
        """Tell whether one more frame of ``size`` bytes may wait for the login; a single frame always may."""
        limits = self._limits
        has_room = self._waiting_bytes + size <= limits.max_login_bytes or not self._waiting
        return self._waiting < limits.max_login_frames and has_room

    @contextlib.contextmanager
    def waiting(self, size: int) -> Iterator[None]:
        """Count a frame of ``size`` bytes that waits for the login. Raises LoginFailed if too many wait already."""
        if not self.may_wait(size):
            raise LoginFailed(
                f"{self._name}: {self._waiting} requests of {self._waiting_bytes} bytes wait for the login already"
            )
        self.enter(size)
        try:
            yield
        finally:
            self.leave(size)

    def enter(self, size: int) -> None:
        """Count a frame of ``size`` bytes that waits for the login, until ``leave``."""
        self._waiting += 1
        self._waiting_bytes += size

    def leave(self, size: int) -> None:
        """Count a frame no longer."""
        self._waiting -= 1
        self._waiting_bytes -= size

    def _count_renewals(self, step: int) -> None:
        was_under_way = self.is_under_way
        self._renewals_under_way += step
        if self.is_under_way is not was_under_way:
            self._changed.set()
            self._changed = asyncio.Event()

    def note_refused(self, sent: Mapping[str, str]) -> None:
        """Remember credentials that the server refused, because its error page may repeat them."""
        for value in sent.values():
            secret = value.rpartition(" ")[2]
            if secret not in self._refused:
                self._refused.append(secret)

    async def renew(self, refusal: Refusal | None, size: int) -> None:
        """Wait for new headers for a frame of ``size`` bytes.

        Raises LoginRefused if the server had refused the request, else LoginFailed, and logs either once.
        """
        self._count_renewals(1)
        try:
            with self.waiting(size):
                await self.credentials.renew(refusal)
        except LoginFailed as exc:
            self.log(str(exc))
            self.failure = exc if refusal is None else _LoginRefused(str(exc), refusal.status)
            raise self.failure from exc.__cause__
        else:
            self.failure = None
        finally:
            self._count_renewals(-1)

    def log(self, fault: str) -> None:
        """Log a login's fault once, however many requests it concerns, until a login succeeds."""
        if fault != self._logged:
            self._logged = fault
            logger.warning("%s", fault)

    def accepted(self) -> None:
        """Note that the server has accepted the headers."""
        self._logged = ""

    @property
    def stands(self) -> bool:
        """Whether a refusal stands, because the server refused new headers a moment ago."""
        return self._clock() < self._stands_until

    def gave_up(self, status: int) -> None:
        """Note that the server refuses whatever the credentials yield."""
        self._stands_until = self._clock() + PAUSE
        self.log(f"{self._name}: HTTP {status}: the server does not accept this login")


class Tries:
    """One request's way to a server that wants a login."""

    __slots__ = ("_left", "_login", "_sent", "frame", "is_background", "is_waiting", "patience")

    def __init__(self, login: ServerLogin, frame: Frame | None, sent: Mapping[str, str]) -> None:
        """Send ``frame``, or a request without one, for the first time or after it was sent with ``sent``."""
        self._login = login
        self._sent = sent
        self._left = {401: login.credentials.renewals, 403: login.credentials.renewals}
        self.frame = frame
        self.is_background = False
        self.is_waiting = False
        """Whether the request waits for new headers, and so is not at the server."""
        self.patience: asyncio.Timeout | None = None

    @property
    def size(self) -> int:
        """The bytes of the frame."""
        return 0 if self.frame is None else len(self.frame.raw)

    async def headers(self) -> Mapping[str, str]:
        """Return the headers to send now; get some first if there are none. Raises LoginFailed."""
        sent = self._login.current()
        if sent is None:
            await self._renew(None)
            sent = self._login.current()
            if sent is None:
                raise LoginFailed("the login ended before it could be used")
        self._sent = sent
        return sent

    async def may_send_again(self, status: int, headers: Any) -> bool:
        """Take an answer's status and headers; return True, once there are new headers, if it was a refusal.

        False: the answer stands. Raises LoginFailed.
        """
        challenges = challenges_in(headers) if status in (401, 403) else ()
        if status not in self._left or (status == 403 and not any(_MISSING_SCOPE in one for one in challenges)):
            self._login.accepted()
            return False
        self._login.note_refused(self._sent)
        if not self._left[status]:
            self._login.gave_up(status)
            return False
        if self._login.stands:
            return False
        self._left[status] -= 1
        if self._login.current() in (self._sent, None):
            await self._renew(self._refusal(status, challenges))
        if self._login.current() != self._sent:
            return True
        if status == 401 and not self.is_background:
            self._login.gave_up(status)
        return False

    def _refusal(self, status: int, challenges: tuple[str, ...]) -> Refusal:
        method = name = ""
        if self.frame is not None:
            from relay.mcp.facts import name_in

            method = self.frame.head.method or ""
            name = name_in(self.frame) or ""
        renewals = self._login.credentials.renewals - self._left[status] - 1
        return Refusal(status, challenges, self._sent, method, name, self.is_background, renewals)

    async def _renew(self, refusal: Refusal | None) -> None:
        patience = self.patience
        left = None
        loop = asyncio.get_running_loop()
        if patience is not None and (end := patience.when()) is not None:
            left = end - loop.time()
            patience.reschedule(None)
        self.is_waiting = True
        try:
            await self._login.renew(refusal, self.size)
        finally:
            self.is_waiting = False
            if patience is not None and left is not None and not patience.expired():
                patience.reschedule(loop.time() + left)


class _LoginRefused(LoginFailed, LoginRefused):
    """A login failed that the server had asked for with ``status``."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def _origin_of(url: str) -> tuple[bool, str | None, int]:
    parts = urlsplit(url)
    is_secure = parts.scheme.lower() in ("https", "wss")
    return is_secure, parts.hostname, parts.port or (443 if is_secure else 80)


def challenges_in(headers: Any) -> tuple[str, ...]:
    """Return the challenges of an answer, from the headers of aiohttp or httpx."""
    if hasattr(headers, "getall"):
        return tuple(line for name in CHALLENGES for line in headers.getall(name, ()))
    return tuple(line for name in CHALLENGES for line in headers.get_list(name))
