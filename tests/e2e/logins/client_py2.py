"""A client on the Python SDK 2.x that logs in: `client_py2.py URL`, with a token in $TOKEN, or by OAuth in a browser.

The authorization server asks nothing, so a client that follows redirects is the browser. It prints what it saw as JSON.
"""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp.client.auth import OAuthClientProvider
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

CALLBACK = "http://127.0.0.1:9/callback"


class Person:
    """A browser, and what it remembers."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.returned = ""

    async def get_tokens(self) -> Any:
        return self.kept.get("tokens")

    async def set_tokens(self, tokens: Any) -> None:
        self.kept["tokens"] = tokens

    async def get_client_info(self) -> Any:
        return self.kept.get("client")

    async def set_client_info(self, client_info: Any) -> None:
        self.kept["client"] = client_info

    async def open(self, url: str) -> None:
        """Follow redirects until the server sends the browser back."""
        async with httpx2.AsyncClient() as browser:
            while not url.startswith(CALLBACK):
                response = await browser.get(url)
                url = str(response.url.join(response.headers["location"]))
        self.returned = url

    async def come_back(self) -> Any:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.returned).query).items()}
        return AuthorizationCodeResult(code=query["code"], state=query.get("state"), iss=query.get("iss"))


def logging_in(url: str, person: Person) -> dict[str, Any]:
    """Return what the HTTP client needs for its login."""
    if "TOKEN" in os.environ:
        return {"headers": {"Authorization": f"Bearer {os.environ['TOKEN']}"}}
    metadata = OAuthClientMetadata(
        redirect_uris=[CALLBACK],
        client_name="a client",
        grant_types=["authorization_code", "refresh_token"],
        token_endpoint_auth_method="none",
    )
    return {"auth": OAuthClientProvider(url, metadata, person, person.open, person.come_back)}


async def main(url: str) -> None:
    """Log in, and use a tool."""
    person = Person()
    async with httpx2.AsyncClient(**logging_in(url, person), timeout=30) as http:
        async with Client(streamable_http_client(url, http_client=http), mode="legacy") as client:
            tools = sorted(tool.name for tool in (await client.list_tools()).tools)
            many = await asyncio.gather(*(client.call_tool("echo", {"text": f"{number}"}) for number in range(20)))
    texts = [result.content[0].text for result in many]
    seen = {"tools": tools, "texts": texts, "has_browser": bool(person.returned)}
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
