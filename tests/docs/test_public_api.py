"""The public Python API is what public_api.txt records."""

from __future__ import annotations

import difflib

from tests.docs.public_api import recorded, signatures


def test_the_public_api_is_as_recorded() -> None:
    """A line that goes or changes breaks programs: deprecate the name first. A new line is a promise."""
    difference = "\n".join(difflib.unified_diff(recorded().splitlines(), signatures().splitlines(), lineterm="", n=0))
    assert not difference, f"{difference}\n\nif it is meant: python -m tests.docs.public_api"


def test_a_lost_parameter_is_seen() -> None:
    assert "observer: Observer | None = None" in recorded()
    assert "class relay.RelayError(Exception)" in recorded()
    assert recorded().count("\n    async def receive(self)") >= 2
