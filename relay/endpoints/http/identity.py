"""Identify the client of a request, by the logins that its listener accepts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.auth.inbound.challenges import www_authenticate
from relay.auth.inbound.verdicts import Principal
from relay.endpoints.http.decisions import Admission, Refused

if TYPE_CHECKING:
    from relay.auth.inbound.login import InboundLogin
    from relay.auth.inbound.verdicts import Challenge
    from relay.endpoints.http.walk import Walk

__all__ = ["identify"]


def identify(login: InboundLogin, walk: Walk, generation: int) -> Refused | None:
    """Admit the client under the name of its principal, or refuse it."""
    walk.admission = None  # an earlier one has ended
    verdict = login.look(walk.headers, walk.request.remote, walk.now)
    if not isinstance(verdict, Principal):
        return _refusal(verdict)
    walk.admission = Admission(verdict.name, verdict.until, generation)
    return None


def _refusal(challenge: Challenge) -> Refused:
    headers = {}
    if challenge.retry_after is not None:
        headers["Retry-After"] = str(challenge.retry_after)
    if challenge.status in (401, 403):
        headers["WWW-Authenticate"] = www_authenticate(challenge)
    refused = Refused(challenge.status, challenge.message, headers=headers)
    refused.is_failed_login = challenge.is_failed_login
    return refused
