"""No test of this folder trusts the system's authorities, which httpx reads for every client."""

from __future__ import annotations

import pytest

from tests.peers import quick


@pytest.fixture(autouse=True)
def _quick_httpx(monkeypatch: pytest.MonkeyPatch) -> None:
    quick.look_for_sniffio_once()
    for name, value in quick.NO_AUTHORITIES.items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
