"""Token requests, and their answers (RFC 6749, 8628, 8707, 7009)."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote_plus, urlencode

import msgspec

from relay.auth.outbound.logins import basic_authorization
from relay.auth.outbound.oauth.records import Client, OpenWindow, Tokens
from relay.auth.outbound.oauth.scopes import granted_scope
from relay.auth.outbound.oauth.text import shown_text
from relay.values import PrivateValue

__all__ = [
    "DEVICE_GRANT",
    "TokenAnswer",
    "TokenDenied",
    "authenticated",
    "client_form",
    "code_form",
    "device_form",
    "new_tokens",
    "read_answer",
    "refresh_form",
    "refreshed",
    "revocation_form",
]

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MAX_ANSWER = 256 * 1024
"""Bytes of a token endpoint's answer."""
_TEMPORARY = frozenset((408, 425, 429))

Form = dict[str, str]


class TokenDenied(Exception):
    """A token endpoint issued no token. The message says why in one line, without secrets."""

    def __init__(self, fault: str, *, error: str = "", status: int = 0, is_temporary: bool = False) -> None:
        """``error``: the code of RFC 6749, 5.2. ``is_temporary``: nothing is wrong with what the relay showed."""
        super().__init__(fault)
        self.error = error
        self.is_temporary = is_temporary
        self.is_client_unknown = status == 401 or error == "invalid_client"
        """Whether the endpoint may want the client's secret in another place."""


class TokenAnswer(PrivateValue, frozen=True):
    """What a token endpoint issued; None where the answer says nothing."""

    access_token: str
    lifetime: float | None = None
    """Seconds."""
    refresh_token: str | None = None
    scope: str | None = None


def _form(window_or_tokens: OpenWindow | Tokens, **fields: str) -> Form:
    return {**fields, **({"resource": window_or_tokens.resource} if window_or_tokens.sends_resource else {})}


def code_form(window: OpenWindow, code: str) -> Form:
    """Return the form that exchanges a code for a token."""
    return _form(
        window,
        grant_type="authorization_code",
        code=code,
        redirect_uri=window.redirect_uri,
        code_verifier=window.verifier,
    )


def device_form(window: OpenWindow) -> Form:
    """Return the form that asks whether the person has agreed (RFC 8628, 3.4)."""
    return _form(window, grant_type=DEVICE_GRANT, device_code=window.device_code)


def refresh_form(tokens: Tokens) -> Form:
    """Return the form that refreshes a login. Without a scope the new token has the old one's."""
    return _form(tokens, grant_type="refresh_token", refresh_token=tokens.refresh_token or "")


def client_form(resource: str | None, scope: str | None) -> Form:
    """Return the form of the client credentials grant (RFC 6749, 4.4)."""
    form = {"grant_type": "client_credentials"}
    if resource is not None:
        form["resource"] = resource
    if scope is not None:
        form["scope"] = scope
    return form


def revocation_form(token: str, hint: str) -> Form:
    """Return the form that revokes a token (RFC 7009, 2.1)."""
    return {"token": token, "token_type_hint": hint}


def authenticated(form: Form, client: Client, *, assertion: str | None = None) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of a request, with what shows that the relay is ``client``.

    ``assertion`` is for the method ``private_key_jwt``; the client id stands in it (RFC 7523, 2.2).
    """
    headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    match client.auth_method:
        case "private_key_jwt":
            form = {**form, "client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion or ""}
        case "client_secret_basic":
            # RFC 6749, 2.3.1: both are form-encoded before they are joined.
            secret = quote_plus(client.client_secret or "")
            headers["Authorization"] = basic_authorization(quote_plus(client.client_id), secret)
        case "client_secret_post":
            form = {**form, "client_id": client.client_id, "client_secret": client.client_secret or ""}
        case _:
            form = {**form, "client_id": client.client_id}
    return headers, urlencode(form).encode()


class _Answer(msgspec.Struct):
    access_token: str = ""
    token_type: str = "bearer"  # many leave it out
    expires_in: float | str | None = None
    refresh_token: str | None = None
    scope: str | None = None
    error: str = ""
    error_description: str | None = None


_decode = msgspec.json.Decoder(_Answer).decode


def read_answer(status: int, body: bytes, *, secrets: Iterable[str] = ()) -> TokenAnswer:
    """Read the answer of a token endpoint. Raises TokenDenied, whose text has ``***`` for ``secrets``."""
    try:
        answer = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        answer = None
    if status != 200 or answer is None or answer.error:
        raise _denial(status, answer, tuple(secrets))
    if answer.token_type.lower() != "bearer":
        raise TokenDenied(f"it issues tokens of the type {answer.token_type[:20]!r}, expected Bearer")
    if not answer.access_token or not all("!" <= one <= "~" for one in answer.access_token):
        raise TokenDenied("the answer has no access_token that a header can carry")
    return TokenAnswer(answer.access_token, _lifetime(answer.expires_in), answer.refresh_token or None, answer.scope)


def _denial(status: int, answer: _Answer | None, secrets: tuple[str, ...]) -> TokenDenied:
    error = "" if answer is None else shown_text(answer.error, secrets)
    said = ": ".join(one for one in (error, shown_text(answer.error_description, secrets) if answer else "") if one)
    is_of_another = answer is None and status not in (400, 401)  # a proxy, or the login page of a network
    is_temporary = status >= 500 or status in _TEMPORARY or is_of_another
    fault = f"HTTP {status}{': ' if said else ''}{said}" if status != 200 or said else "the answer is not JSON"
    return TokenDenied(fault, error=error, status=status, is_temporary=is_temporary)


def _lifetime(expires_in: float | str | None) -> float | None:
    try:
        seconds = float(expires_in) if expires_in is not None else -1.0
    except ValueError:
        return None
    return seconds if 0 <= seconds < 10**9 else None


def new_tokens(window: OpenWindow, answer: TokenAnswer, now: float) -> Tokens:
    """Return the login that an answer completes."""
    return Tokens(
        issuer=window.issuer,
        resource=window.resource,
        profile=window.profile,
        client=window.client,
        token_endpoint=window.token_endpoint,
        revocation_endpoint=window.revocation_endpoint,
        sends_resource=window.sends_resource,
        access_token=answer.access_token,
        refresh_token=answer.refresh_token,
        scope=granted_scope(answer.scope, window.scope),
        requested_scope=window.scope,
        is_refreshable=answer.refresh_token is not None,
        obtained_at=now,
        expires_at=None if answer.lifetime is None else now + answer.lifetime,
    )


def refreshed(tokens: Tokens, answer: TokenAnswer, now: float) -> Tokens:
    """Return a login after a refresh. An answer without a refresh token leaves the old one in force."""
    return msgspec.structs.replace(
        tokens,
        access_token=answer.access_token,
        refresh_token=answer.refresh_token or tokens.refresh_token,
        scope=granted_scope(answer.scope, tokens.scope),
        obtained_at=now,
        expires_at=None if answer.lifetime is None else now + answer.lifetime,
        is_refreshable=True,
        is_refreshed=True,
    )
