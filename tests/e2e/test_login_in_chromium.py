"""A login in real Chromium, as the program does it: the window opens, the person agrees, and the call is answered."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from aiohttp import web

from tests.e2e.conversation import INITIALIZE
from tests.endpoints.http.client.oauth.authority import authority

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# The person agrees by a button, so that the browser runs a page, and not only redirects.
CONSENT = """<!doctype html><title>Consent</title>
<form action="/agreed"><input type="hidden" name="query" value='{query}'><button id="agree">Agree</button></form>
<script>addEventListener("load", () => document.getElementById("agree").click())</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.only_loop("asyncio")
async def test_a_login_in_chromium(tmp_path: Path) -> None:
    """The last page says that the person may close it, and shows nothing of the address; stdout has only the answer."""
    page = tmp_path / "page.html"
    browser = tmp_path / "browser"
    browser.write_text(
        f"#!/bin/sh\nexec {CHROMIUM} --headless --no-sandbox --disable-gpu --disable-dev-shm-usage "
        f'--user-data-dir={tmp_path / "profile"} --virtual-time-budget=8000 --dump-dom "$1" > {page} 2>/dev/null\n'
    )
    browser.chmod(0o755)
    async with authority() as place:

        async def ask(request: web.Request) -> web.StreamResponse | None:
            if "agreed" in request.query:
                return None
            return web.Response(text=CONSENT.format(query=request.query_string), content_type="text/html")

        async def agreed(request: web.Request) -> web.StreamResponse:
            return web.Response(status=302, headers={"Location": f"/authorize?{request.query['query']}&agreed=1"})

        place.replies |= {"GET /authorize": ask, "GET /agreed": agreed}
        relay = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "relay", place.url,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"BROWSER": f"{browser} %s", "MCP_RELAY_AUTH_DIR": str(tmp_path / "store")},
        )  # fmt: skip
        assert relay.stdin is not None and relay.stdout is not None
        try:
            relay.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
            answer = json.loads(await relay.stdout.readline())
            assert answer["id"] == INITIALIZE["id"] and "result" in answer
            assert place.count("GET /agreed") == 1 and place.count("POST /token") == 1
            while not page.exists() or "</html>" not in page.read_text():
                await asyncio.sleep(0.05)
        finally:
            relay.terminate()
            rest, err = await relay.communicate()
        assert rest == b"", "stdout carries the protocol only"
        shown = page.read_text()
        assert "close" in shown.lower() and "code=" not in shown and "state=" not in shown, shown
        assert not any(token in err.decode() for token in [*place.tokens, *place.refresh_tokens])
