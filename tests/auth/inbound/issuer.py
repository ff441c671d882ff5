"""An authorization server of the tests' own: it signs tokens, serves keys, and is asked about tokens."""

from __future__ import annotations

import contextlib
import json
import time
import warnings
from collections.abc import AsyncIterator
from functools import cache
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web
from joserfc import jwk, jwt
from joserfc.jws import JWSRegistry

from relay.auth.inbound.claims import Expected
from relay.errors import EndpointUnavailable

ISSUER = "https://as.example"
AUDIENCE = "https://mcp.example/mcp"
EXPECTED = Expected(ISSUER, AUDIENCE, ("mcp:use",))


def key_of(kind: str, kid: str = "one") -> Any:
    """Return the key of this id, made once in a run: RSA takes 100 ms."""
    return _made(kind, kid)


@cache
def _made(kind: str, kid: str) -> Any:
    size = {"RSA": 2048, "short RSA": 1024, "EC": "P-256", "OKP": "Ed25519", "P-384": "P-384", "oct": 256}[kind]
    made = {"short RSA": "RSA", "P-384": "EC"}.get(kind, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of short keys, and of secret ones
        return jwk.generate_key(made, size, {"kid": kid}, auto_kid=False)  # type: ignore[call-overload]


def public(*keys: Any) -> dict[str, Any]:
    """Return a key set as servers publish it."""
    return {"keys": [{**key.as_dict(private=False), "use": "sig"} for key in keys]}


def claims(**changed: Any) -> dict[str, Any]:
    """Return the claims of a good token; a change to None takes one out."""
    now = int(time.time())
    found = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": now + 600, "iat": now, "scope": "mcp:use more"}
    return {name: value for name, value in {**found, **changed}.items() if value is not None}


def signed(said: dict[str, Any], key: Any = None, algorithm: str | None = None, **header: Any) -> str:
    """Sign a token; ``header`` changes its header."""
    key = key or key_of("EC")
    kinds = {"RSA": "RS256", "EC": "ES256", "OKP": "Ed25519", "oct": "HS256"}
    algorithm = algorithm or kinds[key.key_type]
    head = {"alg": algorithm, "kid": key.kid, "typ": "at+jwt", **header}
    head = {name: value for name, value in head.items() if value is not None}
    registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    return jwt.encode(head, said, key, algorithms=[algorithm], registry=registry)


class Web:
    """What a verifier asks, without a network: documents by their URLs; an exception is raised."""

    def __init__(self, documents: dict[str, Any]) -> None:
        self.documents = documents
        self.asked: list[str] = []
        self.forms: list[dict[str, list[str]]] = []
        self.headers: list[dict[str, str]] = []

    async def get(self, url: str, *, limit: int) -> tuple[int, bytes]:
        self.asked.append(url)
        found = self.documents.get(url)
        if isinstance(found, Exception):
            raise found
        return (404, b"") if found is None else (200, json.dumps(found).encode())

    async def post(self, url: str, headers: Any, body: bytes, *, limit: int) -> tuple[int, bytes]:
        self.forms.append(parse_qs(body.decode(), errors="surrogateescape"))
        self.headers.append(dict(headers))
        return await self.get(url, limit=limit)


def unreachable() -> EndpointUnavailable:
    return EndpointUnavailable("nobody is there")


class Server:
    """The same on a port: its documents by their paths."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        self.asked: list[str] = []
        self.url = ""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request.path)
        found = self.documents.get(request.path)
        if callable(found):
            found = found(parse_qs((await request.read()).decode()))
        return web.json_response(found, status=200 if found is not None else 404)


@contextlib.asynccontextmanager
async def server() -> AsyncIterator[Server]:
    """Serve until the block is left."""
    made = Server()
    runner = web.ServerRunner(web.Server(made.answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()
