"""Explain why a server did not upgrade a request to a WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import aiohttp
from multidict import MultiMapping

from relay.endpoints.http.client.content_coding import coding_of, decode, is_readable
from relay.endpoints.http.client.error_page import describe_page, is_redirect, page_of
from relay.errors import EndpointBroken, EndpointUnavailable

__all__ = ["UpgradeRefused", "explaining"]

_PATIENCE = 2.0  # seconds for the body of a refusal, whose status is already known


class UpgradeRefused(EndpointUnavailable):
    """A server answered an upgrade with ``status`` and ``headers`` instead of 101."""

    def __init__(self, message: str, status: int, headers: MultiMapping[str]) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


def explaining(name: str, secrets: Callable[[], Sequence[str]], longest: int) -> aiohttp.ClientMiddlewareType:
    """Return a middleware that turns a refusal into an error with the text of the server's page and headers.

    It follows no redirect. aiohttp's handshake would, and so send headers for one server to another.
    """

    async def explain(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        response = await send(request)
        if response.status == 101:
            return response
        try:
            said = describe_page(page_of(response, await _read_page(response, name, longest), request.url))
        finally:
            response.close()
        for secret in secrets():
            said = said.replace(secret, "***")
        status, how = response.status, "" if is_redirect(response.status) else " to the upgrade"
        raise UpgradeRefused(
            f"{name}: HTTP {status}{how}{': ' if said else ''}{said}", status, response.headers
        ) from aiohttp.WSServerHandshakeError(
            response.request_info, response.history, message="not a WebSocket", status=status, headers=response.headers
        )

    return explain


async def _read_page(response: aiohttp.ClientResponse, name: str, longest: int) -> bytes:
    data, coding = b"", coding_of(response.headers)
    if is_readable(coding):
        pieces = response.content.iter_any()
        with contextlib.suppress(TimeoutError, EndpointBroken, aiohttp.ClientError, ConnectionError):
            async with asyncio.timeout(_PATIENCE):
                async for piece in decode(pieces, coding, name) if coding else pieces:
                    data += piece
                    if len(data) >= longest:
                        break
    return data[:longest]
