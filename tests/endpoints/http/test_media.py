"""Media types and Accept, as tables."""

from __future__ import annotations

import pytest

from relay.endpoints.http.media import EVENT_STREAM, JSON, accepts
from relay.endpoints.http.media import media_type as media_type_of


@pytest.mark.parametrize(
    ("accept", "json", "stream"),
    [
        (None, True, True),
        ("", False, False),
        ("*/*", True, True),
        ("application/json", True, False),
        ("text/event-stream", False, True),
        ("application/json, text/event-stream", True, True),
        ("Application/JSON;charset=utf-8 , TEXT/Event-Stream", True, True),
        ("application/*", True, False),
        ("text/*;q=0.5", False, True),
        ("text/html, */*;q=0.1", True, True),
        ("application/json;q=0, text/event-stream", False, True),
        ("application/json; q=0.0, */*", False, True),
        ("application/json;q=0.000,text/event-stream;q=1", False, True),
        ("application/json ; Q=0 , */*", False, True),
        ("*/*;q=0", False, False),
        ("application/json;q=0.001", True, False),
        ("application/jsonp, text/event-stream-x", False, False),
        ("text/html", False, False),
        (",,,", False, False),
        ("*/*, application/json;q=0", False, True),
        ("*/*;q=0, application/json", True, False),
        ("application/*;q=0, application/json", True, False),
    ],
)
def test_accepts(accept: str | None, json: bool, stream: bool) -> None:
    """RFC 9110 §12.5.1: the most specific range decides, q=0 excludes, no header admits all."""
    assert accepts(accept, JSON) is json
    assert accepts(accept, EVENT_STREAM) is stream


@pytest.mark.parametrize(
    ("value", "media_type"),
    [(None, ""), ("", ""), ("application/json", JSON), (" Application/JSON ; charset=utf-8", JSON), (";", "")],
)
def test_media_type(value: str | None, media_type: str) -> None:
    """Lower case, without parameters."""
    assert media_type_of(value) == media_type
