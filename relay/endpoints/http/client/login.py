"""Log in to a server over HTTP with client credentials, or with Digest.

Client credentials become a bearer token, a header like any other. Digest answers the challenge of each request, so it
is a middleware of aiohttp's session, and a dial with it does not use the pool of kept connections.
"""

from __future__ import annotations

import asyncio
import math
import re
import ssl
from collections.abc import Mapping
from time import monotonic
from typing import cast

import aiohttp
from aiohttp.client_middleware_digest_auth import DigestFunctions
from multidict import CIMultiDict
from yarl import URL

from relay.addresses import shown_address, without_logins
from relay.auth.outbound.credentials import Credentials, LoginFailed, Refusal
from relay.auth.outbound.logins import ClientCredentials, DigestLogin, Login
from relay.auth.outbound.oauth.records import CONFIGURED, Client, seconds_of_use
from relay.auth.outbound.oauth.tokens import TokenAnswer, TokenDenied, authenticated, client_form, read_answer
from relay.auth.outbound.tries import ServerLogin
from relay.endpoints.http.address import parse_url
from relay.endpoints.http.client.oauth.web import AuthorizationWeb, ServerUnreachable
from relay.errors import EndpointUnavailable
from relay.limits import DEFAULT_LIMITS, Limits

__all__ = ["ClientCredentialsLogin", "HttpDigest", "open_login"]

_MAX_TOKEN_BODY = 256 * 1024
_STALE = re.compile(r"\bstale\s*=\s*\"?true", re.IGNORECASE)
_STALE_TRIES = 8  # concurrent requests use up each other's nonces
_DIGEST = re.compile(r"(?:^|,)\s*Digest\s+(?=\S)", re.IGNORECASE)
_ALGORITHM = re.compile(r'(?:^|[\s,])algorithm\s*=\s*"?([\w-]+)', re.IGNORECASE)


def open_login(
    login: Login, url: str, ssl_context: ssl.SSLContext | None = None, limits: Limits = DEFAULT_LIMITS
) -> ServerLogin | HttpDigest:
    """Return the login to the server at ``url``, for all connections to that server: they share a token.

    ``ssl_context`` is for the token endpoint. A context that does not verify is not used there, because it would expose
    the client secret to anyone on the path.
    """
    origin = parse_url(url, {}, ("http", "https", "ws", "wss"))[0].origin()
    if not isinstance(login, ClientCredentials):
        return HttpDigest(login, origin)
    return ServerLogin(ClientCredentialsLogin(login, origin, ssl_context), url, limits=limits)


class ClientCredentialsLogin(Credentials):
    """A bearer token from a token endpoint, kept until shortly before the token expires."""

    renewals = 1  # there is nothing to refresh

    def __init__(self, made: ClientCredentials, origin: URL, ssl_context: ssl.SSLContext | None) -> None:
        """Log in to ``origin`` with tokens for ``made``."""
        self.made = made
        self._origin = origin
        self._web = AuthorizationWeb(ssl_context)
        self._name = shown_address(made.token_url)
        self._is_secret_in_form = False
        self._token: TokenAnswer | None = None
        self._headers: Mapping[str, str] | None = None
        self._until = math.inf
        self._fetching = asyncio.Lock()
        self._failures = 0
        self._failure = ""

    @property
    def secrets(self) -> tuple[str, ...]:
        """The token and the client secret."""
        token = (self._token.access_token,) if self._token is not None else ()
        return (*token, self.made.client_secret)

    def current(self) -> Mapping[str, str] | None:
        """Return the header with the token; None before there is one, and once it has expired."""
        return self._headers if monotonic() < self._until else None

    async def renew(self, refusal: Refusal | None) -> None:
        """Fetch a token. Requests that wait for the same fetch share its token, or its failure: LoginFailed."""
        failures, known = self._failures, self._headers
        async with self._fetching:
            if self._headers is not known:
                return  # a token has come meanwhile
            if self._failures == failures:
                try:
                    self._keep(await self._fetch())
                    return
                except TokenDenied as exc:
                    self._failures += 1
                    self._failure = str(exc)
            raise LoginFailed(f"{self._origin}: no token from {self._name}: {self._failure}")

    def _keep(self, token: TokenAnswer) -> None:
        self._token = token
        self._headers = {"Authorization": f"Bearer {token.access_token}"}
        self._until = monotonic() + seconds_of_use(token.lifetime)

    async def _fetch(self) -> TokenAnswer:
        """Fetch a token. Send the secret in a header, or in the form if the server accepts it only there."""
        try:
            return await self._ask()
        except TokenDenied as exc:
            if not exc.is_client_unknown:
                raise
        self._is_secret_in_form = not self._is_secret_in_form
        return await self._ask()

    async def _ask(self) -> TokenAnswer:
        client = Client(
            client_id=self.made.client_id,
            client_secret=self.made.client_secret,
            auth_method="client_secret_post" if self._is_secret_in_form else "client_secret_basic",
            source=CONFIGURED,
        )
        headers, body = authenticated(client_form(None, None), client)
        try:
            status, answer = await self._web.post(self.made.token_url, headers, body, limit=_MAX_TOKEN_BODY)
        except ServerUnreachable as exc:
            raise TokenDenied(exc.why, is_temporary=True) from exc
        return read_answer(status, answer, secrets=(self.made.client_secret,))


class HttpDigest:
    """HTTP Digest, a middleware that aiohttp's session calls for each request: aiohttp answers the challenges."""

    def __init__(self, login: DigestLogin, origin: URL) -> None:
        """Log in to ``origin`` only."""
        self.made = login
        self._origin = origin
        self._password = login.password
        self._answering = aiohttp.DigestAuthMiddleware(login.username, login.password)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The password."""
        return (self._password,)

    async def __call__(self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """Send a request with credentials. Raises EndpointUnavailable if the challenge cannot be answered."""
        if request.url.origin() != self._origin:
            return await send(request)
        return await self._send(request, send)

    async def _send(self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """Send a request, and retry it while concurrent requests use up its nonce."""
        response = await self._answer(request, send)
        for _ in range(_STALE_TRIES):
            if response.status != 401 or not _is_stale(response):
                break
            response.release()
            response = await self._answer(request, send)
        return response

    async def _answer(self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        refused: aiohttp.ClientResponse | None = None
        is_sending = False

        async def send_once(request: aiohttp.ClientRequest) -> aiohttp.ClientResponse:
            nonlocal refused, is_sending
            if refused is not None:
                refused.release()  # aiohttp does not release the first refusal, so its connection would leak
            is_sending = True
            response = refused = await send(request)
            is_sending = False
            return cast("aiohttp.ClientResponse", _Challenge(response))

        try:
            return cast("_Challenge", await self._answering(request, send_once)).response
        except aiohttp.ClientError as exc:
            if is_sending:
                raise
            if refused is not None:
                refused.release()
            raise EndpointUnavailable(
                f"{self._origin}: the relay cannot answer the server's challenge: {without_logins(str(exc))}"
            ) from exc


def _is_stale(response: aiohttp.ClientResponse) -> bool:
    """Tell whether a refusal means only that the nonce is stale (RFC 7616, section 3.3)."""
    return any(_STALE.search(line) for line in response.headers.getall("WWW-Authenticate", ()))


class _Challenge:
    """An answer as aiohttp's Digest reads it, with the first challenge that aiohttp supports as the only one."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.status = response.status
        self.url = response.url
        self.headers: CIMultiDict[str] = CIMultiDict()
        for line in response.headers.getall("WWW-Authenticate", ()):
            found = _DIGEST.search(line)
            if found is None:
                continue
            challenge = line[found.end() :]
            algorithm = _ALGORITHM.search(challenge)
            if (algorithm[1] if algorithm else "MD5").upper() in DigestFunctions:
                self.headers["WWW-Authenticate"] = f"Digest {challenge}"
                return
