"""A gateway in this process, and a page that calls it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from relay.auth.egress import EgressRules, parse_networks
from relay.auth.inbound.login import InboundLogin
from relay.auth.inbound.rates import Rates
from relay.auth.inbound.token_sources import GivenTokens
from relay.endpoints.core.dialling import DiallingOptions
from relay.endpoints.core.egress import EgressGuard
from relay.endpoints.http.listening import ListeningOptions
from relay.endpoints.http.server.listener import HttpListener
from relay.gateway.routes import Gateway
from relay.limits import Limits

__all__ = ["LOOPBACK", "QUICK", "TOKEN", "Page", "gateway"]

TOKEN = "the-token-of-the-first-page-of-all"
OTHER = "the-token-of-the-second-page-of-all"
LOOPBACK = EgressRules(allowed=parse_networks(["127.0.0.0/8"], "--proxy-allow-net"))
QUICK = Limits(close_grace=0.5)


class Page:
    """What a page of the gateway does."""

    def __init__(
        self, base: str, session: aiohttp.ClientSession, house: HttpListener, routes: Gateway, login: InboundLogin
    ) -> None:
        self.base = base
        self.session = session
        self.listener = house
        self.routes = routes
        self.login = login

    async def post(
        self, body: bytes | Mapping[str, object], token: str | None = TOKEN, **headers: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        """POST a body to ``/proxy``; return the status, the headers and the body of the answer."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **headers}
        if token is not None:
            sent.setdefault("X-Proxy-Token", token)
        async with self.session.post(f"{self.base}/proxy", data=data, headers=sent) as response:
            return response.status, response.headers, await response.read()

    async def call(self, server: str, method: str, params: object = None, **more: object) -> Any:
        """Call a method of a server; return the JSON of the answer. Fails unless the status is 200."""
        body = {"mcp_server_url": server, "method": method, **({} if params is None else {"params": params}), **more}
        status, _, answer = await self.post(body)
        assert status == 200, (status, answer)
        return json.loads(answer)

    def websocket(self, **query: str) -> Any:
        """Open ``/ws`` with these parameters."""
        return self.session.ws_connect(f"{self.base}/ws", params=query, protocols=("mcp",))


@asynccontextmanager
async def gateway(
    rules: EgressRules = LOOPBACK,
    *,
    limits: Limits = QUICK,
    within: float = 20,
    session_idle: float = 600,
    origins: Sequence[str] = ("https://page.example",),
    login: InboundLogin | None = None,
    proxy: str | None = None,
    rates: Rates | None = None,
) -> AsyncIterator[Page]:
    """Run a gateway that may dial this machine, unless ``rules`` say otherwise."""
    guard = EgressGuard(rules, proxy=proxy)
    options = DiallingOptions(guard=guard, limits=limits)
    routes = Gateway(guard, options, "1.2.3", timeout=within, session_idle=session_idle)
    login = login or InboundLogin(GivenTokens({"first": TOKEN, "second": OTHER}))
    listening = ListeningOptions(allowed_origins=origins, login=login, rates=rates, limits=limits)
    listener = HttpListener("127.0.0.1", 0, listening, has_root=False, routes=routes)
    await listener.start()
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=40)) as session:
            yield Page(listener.base_url, session, listener, routes, login)
    finally:
        await listener.aclose()
