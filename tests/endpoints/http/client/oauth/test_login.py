"""Logging in by a browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.endpoints.http.client.oauth.authority import authority
from tests.endpoints.http.client.oauth.house import house


async def test_a_first_401_leads_to_one_window_and_the_call_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """O-01, O-24, O-30: nothing before the 401; then one registration, one window, one token; and the answer."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        credentials = here.start()
        assert credentials.current() == {}
        assert "result" in await here.call(credentials)
        assert len(here.browser.opened) == 1
        await here.browser.close()
        assert here.browser.pages[0][0] == 200
        assert place.log == [
            "POST /mcp",
            "GET /.well-known/oauth-protected-resource/mcp",
            "GET /.well-known/oauth-authorization-server",
            "POST /register",
            "GET /authorize",
            "POST /token",
            "POST /mcp",
        ]
        again = here.start()
        assert "result" in await here.call(again)
        assert place.log[7:] == ["POST /mcp"]
