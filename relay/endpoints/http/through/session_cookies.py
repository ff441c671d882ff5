"""Keep the cookies of a server to which the relay forwards requests.

Each session has its own cookies. Requests without a session have none, because nothing distinguishes their clients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from relay.endpoints.http.client.cookies import CookieJar, SessionJars
from relay.mcp.headers import SESSION_ID

if TYPE_CHECKING:
    from relay.endpoints.http.client.aiohttp_dial import Response
    from relay.endpoints.http.client.pool import PooledResponse

__all__ = ["SessionCookies"]


class SessionCookies:
    """The cookie jars of one server, one per session."""

    def __init__(self, new_jar: Callable[[], CookieJar]) -> None:
        """Start without jars; ``new_jar`` makes them."""
        self._jars = SessionJars(new_jar)
        self.kept = self._jars.kept
        """The jars that hold cookies, by session id."""

    def of(self, session_id: str | None) -> CookieJar:
        """Return the jar of a session, or an empty one."""
        return self._jars.find(session_id)

    def header(self, session_id: str | None, path: str) -> bytes:
        """Return the header line with a session's cookies for ``path``; empty if there are none."""
        header = self._jars.find(session_id).header(path)
        return f"Cookie: {header}\r\n".encode() if header else b""

    def take(self, session_id: str | None, answer: PooledResponse, path: str) -> None:
        """Keep the cookies that an answer on a kept connection has set."""
        jar = self._jars.find(session_id)
        jar.take(answer.cookies, path)
        self.note(session_id, answer, jar)

    def note(self, session_id: str | None, response: Response, jar: CookieJar, method: str = "POST") -> None:
        """Keep an answer's cookies for the session that the answer begins or belongs to; forget an ended session."""
        is_good = 200 <= response.status < 300
        if session_id is not None and (response.status in (404, 410) or (is_good and method == "DELETE")):
            self._jars.forget(session_id)
        elif (owner := response.headers.get(SESSION_ID) if session_id is None else session_id) is not None:
            self._jars.keep(owner, jar, is_known=is_good)
