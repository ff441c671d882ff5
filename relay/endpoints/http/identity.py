"""Identify the client of a request, by the logins that its listener accepts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.auth.inbound.challenges import www_authenticate
from relay.auth.inbound.verdicts import Pending, Principal
from relay.endpoints.http.decisions import Admission, Refused, VerificationWanted

if TYPE_CHECKING:
    from relay.auth.inbound.login import InboundLogin
    from relay.auth.inbound.verdicts import Challenge
    from relay.endpoints.http.walk import Walk

__all__ = ["base_url_of", "identify"]


def identify(login: InboundLogin, walk: Walk, generation: int) -> Refused | VerificationWanted | None:
    """Admit the client under the name of its principal, or refuse it."""
    walk.admission = None  # an earlier one has ended
    verdict, walk.verdict = walk.verdict, None
    if verdict is None:
        verdict = login.look(walk.headers, walk.request.remote, walk.now, lambda: walk.request.certificate)
    if isinstance(verdict, Pending):
        return VerificationWanted(verdict)
    if not isinstance(verdict, Principal):
        return _refusal(login, walk, verdict)
    walk.admission = Admission(verdict.name, verdict.until, generation)
    return None


def _refusal(login: InboundLogin, walk: Walk, challenge: Challenge) -> Refused:
    headers = {}
    if challenge.retry_after is not None:
        headers["Retry-After"] = str(challenge.retry_after)
    if challenge.status in (401, 403):
        headers["WWW-Authenticate"] = www_authenticate(challenge, _metadata_url(login, walk))
    refused = Refused(challenge.status, challenge.message, headers=headers)
    refused.is_failed_login = challenge.is_failed_login
    return refused


def _metadata_url(login: InboundLogin, walk: Walk) -> str | None:
    """Return where the client learns who issues tokens for what it asked for; None if nobody does."""
    base_url = base_url_of(walk.house.scheme, walk.headers.get("Host"))
    if login.metadata is None or not (login.metadata.public_url or base_url):
        return None
    path = walk.house.resource_path(walk.mount, walk.place) if walk.mount is not None else ""
    return login.metadata.address(base_url, path)


def base_url_of(scheme: str, host: str | None) -> str:
    """Return the URL to which a client sent its request, whose ``Host`` the gate has admitted; empty without one."""
    return f"{scheme}://{host}" if host else ""
