"""Credentials that count, wait and fail as a test wants: what a login is to the ways that use it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from relay.auth.outbound.credentials import Credentials, LoginFailed, Refusal

__all__ = ["CountedCredentials"]


class CountedCredentials(Credentials):
    """Headers with a number, one more with each renewal."""

    def __init__(self, *, number: int = 0) -> None:
        """Start without a login, or with that of ``number``."""
        self.number = number
        self.renewed: list[Refusal | None] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.failure: str | None = None
        self.is_stuck = False
        self.covered = ""
        self._headers = self._made()

    def _made(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer canary-token-{self.number}"} if self.number else {}

    @property
    def secrets(self) -> tuple[str, ...]:
        return (f"canary-token-{self.number}",)

    def current(self) -> Mapping[str, str]:
        return self._headers

    def covers(self, url: str) -> bool:
        return self.covered in url

    async def renew(self, refusal: Refusal | None) -> None:
        self.renewed.append(refusal)
        number = self.number
        await self.may_go_on.wait()
        if self.failure is not None:
            raise LoginFailed(self.failure)
        if not self.is_stuck and self.number == number:
            self.number += 1
            self._headers = self._made()
