"""Credentials as values: headers that can be sent at once, and a way to get new ones after the server refused them.

``tries.py`` decides how often a request is sent again. An implementation decides only how it gets new headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from relay.errors import EndpointUnavailable
from relay.values import PrivateValue

__all__ = ["CHALLENGES", "Credentials", "LoginFailed", "Refusal"]

CHALLENGES = ("WWW-Authenticate", "x-amzn-remapped-www-authenticate")
"""The headers of a refusal's challenges: AWS API Gateway renames the first to the second."""


class LoginFailed(EndpointUnavailable):
    """The relay got no credentials, so the server executed nothing.

    The message goes to the client and to the log. It says what to do next, and has no secret.
    """


class Refusal(PrivateValue, frozen=True):
    """A server's 401, or a 403 that may name a missing scope; the server executed nothing."""

    status: int
    challenges: tuple[str, ...] = ()
    """The lines of the headers in ``CHALLENGES``, in their order."""
    sent: Mapping[str, str] = {}
    """The headers of ``Credentials.current`` that the server refused; empty if there were none."""
    method: str = ""
    """The JSON-RPC method of the refused frame; "" for a GET stream, a DELETE and a WebSocket handshake."""
    name: str = ""
    """The tool, prompt or resource that the frame names; "" if it names none."""
    is_background: bool = False
    """Whether no request of a client waits, so that no person may be asked to log in."""
    renewals: int = 0
    """How many renewals for this status the request has had already: 0 says that the headers may have worked before."""


class Credentials(Protocol):
    """What the relay shows to one server. All connections to that server share one object.

    The relay sends the headers to the server's own origin only. A class that names this protocol as its base inherits
    ``renewals`` and ``covers``.
    """

    renewals: int = 2
    """How many renewals in a row are worth a try, each with other headers: a refresh, then a login."""

    def current(self) -> Mapping[str, str] | None:
        """Return the headers to send now, without I/O; the same mapping for as long as nothing changes.

        The mapping is empty before a first login. None means that ``renew(None)`` must come first.
        """

    async def renew(self, refusal: Refusal | None) -> None:
        """Get new headers after a refusal, or because ``current`` returned None. Calls may run concurrently.

        If ``current`` returns the refused headers afterwards, the refusal stands: the client gets the server's answer.
        Raises LoginFailed, to all who wait for the same login.
        """

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secrets that a server's error page could repeat. No error and no log may show them."""

    def covers(self, url: str) -> bool:
        """Tell whether the headers may go to ``url``, to which the server redirects, and which is of its origin."""
        return True
