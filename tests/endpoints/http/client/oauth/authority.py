"""A small authorization server, and a protected server beside it, that count and misbehave as a test wants.

Both are one program on one port. The protected resource is at ``/mcp``. A person agrees at once, unless the test says
otherwise. Refresh tokens rotate, and a used one ends the whole login (reuse detection).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode

from aiohttp import web

__all__ = ["Authority", "Grant", "authority"]


@dataclass
class Grant:
    """What one agreement is good for."""

    client_id: str
    scope: str
    resource: str
    refresh_token: str = ""
    is_ended: bool = False


@dataclass
class Authority:
    """The knobs and the counts. ``log`` has every request as ``GET /path``, in order."""

    origin: str = ""
    log: list[str] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    authorizations: list[dict[str, str]] = field(default_factory=list)
    registrations: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    """Those of each request, in lower case."""
    refused: Counter[str] = field(default_factory=Counter)
    # Knobs.
    challenge: str | None = 'Bearer resource_metadata="{origin}/.well-known/oauth-protected-resource/mcp"'
    challenge_name: str = "WWW-Authenticate"
    challenge_scope: str = ""
    needed_scope: str = ""
    resource: str = "{origin}/mcp"
    issuer: str = "{origin}"
    named_issuers: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    """Fields that replace those of the metadata; None takes one out."""
    resource_metadata: dict[str, Any] = field(default_factory=dict)
    replies: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse | None]]] = field(default_factory=dict)
    """Other answers by ``GET /path``; None: the usual one."""
    lifetime: float | None = 3600
    rotates: bool = True
    issues_refresh: bool = True
    refuses_all: bool = False
    callback_extra: dict[str, str] = field(default_factory=dict)
    callback_error: str = ""
    """The ``error`` that the callback gets in place of a code."""
    person: Callable[[], Awaitable[None]] | None = None
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    clients: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: dict[str, Grant] = field(default_factory=dict)
    refresh_tokens: dict[str, Grant] = field(default_factory=dict)
    device_polls: int = 0
    number: int = 0

    @property
    def url(self) -> str:
        """The protected server."""
        return f"{self.origin}/mcp"

    def count(self, what: str) -> int:
        """Tell how often ``GET /path`` came."""
        return self.log.count(what)

    def grants_of(self, kind: str) -> list[dict[str, str]]:
        """Return the token requests of one grant type."""
        return [form for form in self.forms if form.get("grant_type") == kind]

    def expire(self) -> None:
        """Refuse every access token from now on; refresh tokens stay good."""
        self.tokens.clear()

    def _new(self, what: str) -> str:
        self.number += 1
        return f"{what}-{self.number}-{token_hex(6)}"

    def _text(self, text: str) -> str:
        return text.replace("{origin}", self.origin)

    # Routes.

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        what = f"{request.method} {request.path}"
        self.log.append(what)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        if (reply := self.replies.get(what)) is not None and (other := await reply(request)) is not None:
            return other
        match what:
            case "POST /mcp" | "GET /mcp" | "DELETE /mcp":
                return await self._resource(request)
            case "GET /.well-known/oauth-protected-resource/mcp":
                return self._json(self._resource_metadata())
            case "GET /.well-known/oauth-authorization-server":
                return self._json(self._metadata())
            case "GET /authorize":
                return await self._authorize(request)
            case "POST /register":
                return await self._register(request)
            case "POST /token":
                return await self._token(request)
            case "POST /device":
                return await self._device(request)
            case "POST /revoke":
                return await self._revoke(request)
        return web.Response(status=404, text="no such page")

    def _json(self, document: Any, status: int = 200) -> web.Response:
        return web.Response(status=status, body=json.dumps(document).encode(), content_type="application/json")

    def _resource_metadata(self) -> dict[str, Any]:
        issuers = [self._text(one) for one in self.named_issuers or [self.issuer]]
        document = {"resource": self._text(self.resource), "authorization_servers": issuers, **self.resource_metadata}
        return {name: value for name, value in document.items() if value is not None}

    def _metadata(self) -> dict[str, Any]:
        document = {
            "issuer": self._text(self.issuer),
            "authorization_endpoint": f"{self.origin}/authorize",
            "token_endpoint": f"{self.origin}/token",
            "registration_endpoint": f"{self.origin}/register",
            "revocation_endpoint": f"{self.origin}/revoke",
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
            **self.metadata,
        }
        return {name: self._text(value) if isinstance(value, str) else value for name, value in document.items()
                if value is not None}  # fmt: skip

    async def _resource(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        grant = self.tokens.get(token)
        if grant is None or self.refuses_all:
            headers = {}
            if self.challenge is not None:
                scope = f', scope="{self.challenge_scope}"' if self.challenge_scope else ""
                headers[self.challenge_name] = self._text(self.challenge) + scope
            return web.Response(status=401, headers=headers)
        if not set(self.needed_scope.split()) <= set(grant.scope.split()):
            value = f'Bearer error="insufficient_scope", scope="{self.needed_scope}"'
            return web.Response(status=403, headers={"WWW-Authenticate": value})
        if request.method != "POST":
            return web.Response(status=405)
        message = json.loads(body)
        if "id" not in message:
            return web.Response(status=202)
        return self._json({"jsonrpc": "2.0", "id": message["id"], "result": {"token": token}})

    async def _authorize(self, request: web.Request) -> web.StreamResponse:
        query = dict(parse_qsl(request.rel_url.raw_query_string))
        self.authorizations.append(query)
        if query["client_id"] not in self.clients:
            return web.Response(status=400, text="unknown client")
        if self.person is not None:
            await self.person()
        back = {"state": query["state"], **{name: self._text(text) for name, text in self.callback_extra.items()}}
        if self.callback_error:
            back["error"] = self.callback_error
        else:
            back["code"] = self._new("code")
            self.codes[back["code"]] = query
        raise web.HTTPFound(f"{query['redirect_uri']}?{urlencode(back)}")

    async def _register(self, request: web.Request) -> web.StreamResponse:
        document = await request.json()
        self.registrations.append(document)
        client_id = self._new("client")
        method = document["token_endpoint_auth_method"]
        client = {**document, "client_id": client_id}
        if method != "none":
            client["client_secret"] = self._new("secret")
        self.clients[client_id] = client
        return self._json(client, 201)

    def add_client(self, client_id: str, secret: str = "", *, method: str = "client_secret_basic") -> None:
        """Register a client by hand."""
        self.clients[client_id] = {
            "client_id": client_id,
            "client_secret": secret,
            "token_endpoint_auth_method": method,
        }

    def _deny(self, error: str, status: int = 400) -> web.Response:
        self.refused[error] += 1
        return self._json({"error": error, "error_description": f"{error} it is"}, status)

    def _client_of(self, request: web.Request, form: dict[str, str]) -> str | None:
        """Return the id of the client that has shown who it is."""
        basic = request.headers.get("Authorization", "")
        if basic.startswith("Basic "):
            client_id, _, secret = base64.b64decode(basic[6:]).decode().partition(":")
            client_id, secret = unquote_plus(client_id), unquote_plus(secret)
        else:
            client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
        client = self.clients.get(client_id)
        if client is None or client.get("client_secret", "") != secret:
            return None
        return client_id

    async def _token(self, request: web.Request) -> web.StreamResponse:
        form = dict(parse_qsl((await request.read()).decode()))
        self.forms.append(form)
        client_id = self._client_of(request, form)
        if client_id is None:
            return self._deny("invalid_client", 401)
        match form["grant_type"]:
            case "authorization_code":
                return self._by_code(form, client_id)
            case "refresh_token":
                return self._by_refresh(form, client_id)
            case "client_credentials":
                return self._issue(Grant(client_id, form.get("scope", ""), form.get("resource", "")), refresh=False)
            case "urn:ietf:params:oauth:grant-type:device_code":
                self.device_polls -= 1
                if self.device_polls >= 0:
                    return self._deny("slow_down" if self.device_polls % 2 else "authorization_pending")
                return self._issue(Grant(client_id, "", form.get("resource", "")))
        return self._deny("unsupported_grant_type")

    def _by_code(self, form: dict[str, str], client_id: str) -> web.Response:
        asked = self.codes.pop(form["code"], None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if asked is None or asked["code_challenge"] != challenge or asked["client_id"] != client_id:
            return self._deny("invalid_grant")
        if asked["redirect_uri"] != form["redirect_uri"] or asked.get("resource") != form.get("resource"):
            return self._deny("invalid_target")
        return self._issue(Grant(client_id, asked.get("scope", ""), form.get("resource", "")))

    def _by_refresh(self, form: dict[str, str], client_id: str) -> web.Response:
        grant = self.refresh_tokens.get(form["refresh_token"])
        if grant is None or grant.is_ended or grant.client_id != client_id:
            return self._deny("invalid_grant")
        if grant.refresh_token != form["refresh_token"]:
            grant.is_ended = True  # a used one: somebody has stolen it
            return self._deny("invalid_grant")
        return self._issue(grant, refresh=self.rotates)

    def _issue(self, grant: Grant, *, refresh: bool = True) -> web.Response:
        token = self._new("token")
        self.tokens[token] = grant
        answer: dict[str, Any] = {"access_token": token, "token_type": "bearer"}
        if self.lifetime is not None:
            answer["expires_in"] = self.lifetime
        if refresh and self.issues_refresh:
            grant.refresh_token = answer["refresh_token"] = self._new("refresh")
            self.refresh_tokens[grant.refresh_token] = grant
        return self._json(answer)

    async def _device(self, request: web.Request) -> web.StreamResponse:
        form = dict(parse_qsl((await request.read()).decode()))
        self.forms.append(form)
        return self._json(
            {
                "device_code": self._new("device"),
                "user_code": "WDJB-MJHT",
                "verification_uri": f"{self.origin}/enter",
                "expires_in": 300,
                "interval": 0,
            }
        )

    async def _revoke(self, request: web.Request) -> web.StreamResponse:
        form = dict(parse_qsl((await request.read()).decode()))
        self.forms.append(form)
        self.tokens.pop(form["token"], None)
        if (grant := self.refresh_tokens.get(form["token"])) is not None:
            grant.is_ended = True
        return web.Response(status=200)


@contextlib.asynccontextmanager
async def authority(**knobs: Any) -> AsyncIterator[Authority]:
    """Start one on a port of its own."""
    made = Authority(**knobs)
    runner = web.ServerRunner(web.Server(made.answer), shutdown_timeout=0.1)  # type: ignore[arg-type]  # a Request's subset
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    made.origin = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
    try:
        yield made
    finally:
        await asyncio.shield(runner.cleanup())
