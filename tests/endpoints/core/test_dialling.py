"""The options of dialling as a value."""

from __future__ import annotations

from relay.endpoints.core.dialling import DEFAULT_DIALLING, DiallingOptions
from relay.limits import Limits


def test_its_text_shows_no_header() -> None:
    """Headers carry tokens, and a value may end up in a traceback or a log."""
    assert "canary" not in repr(DiallingOptions(headers={"Authorization": "Bearer canary"}))


def test_many_clients_may_have_more_requests_open() -> None:
    """The one limit changes, and nothing else."""
    options = DiallingOptions(transport="sse", limits=Limits(max_in_flight=3, max_shared_in_flight=7, drain=1))
    shared = options.for_many_clients()
    assert shared == DiallingOptions(transport="sse", limits=Limits(max_in_flight=7, max_shared_in_flight=7, drain=1))
    assert DEFAULT_DIALLING.limits == Limits()
