"""Reading WWW-Authenticate."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.auth.outbound.oauth.challenge import BearerChallenge, bearer_challenge, parse_challenges

URL = "https://mcp.example/.well-known/oauth-protected-resource/mcp"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], None),
        (["Basic realm=x"], None),
        (["Bearer"], BearerChallenge()),
        (["bearer"], BearerChallenge()),
        (['Bearer realm="x"'], BearerChallenge()),
        ([f'Bearer resource_metadata="{URL}"'], BearerChallenge(resource_metadata=URL)),
        ([f"Bearer resource_metadata={URL}"], BearerChallenge(resource_metadata=URL)),
        ([f'BEARER Resource_Metadata="{URL}" , SCOPE="a b"'], BearerChallenge(resource_metadata=URL, scope="a b")),
        (['Bearer scope="a b", error="insufficient_scope"'], BearerChallenge(scope="a b", error="insufficient_scope")),
        (['Bearer x_scope="no", scope="yes"'], BearerChallenge(scope="yes")),
        (['Bearer realm="scope=no", scope=yes'], BearerChallenge(scope="yes")),
        (['Basic realm="a, Bearer scope=no", Bearer scope="yes"'], BearerChallenge(scope="yes")),
        (['Basic realm="a"', 'Bearer scope="yes"'], BearerChallenge(scope="yes")),
        (['Negotiate dG9rZW4=, Bearer scope="yes"'], BearerChallenge(scope="yes")),
        (['Digest nonce="n", qop=auth, Bearer scope="yes", realm="r"'], BearerChallenge(scope="yes")),
        (['Bearer error_description="say \\"hi\\", no \\\\"'], BearerChallenge(error_description='say "hi", no \\')),
        (['Bearer realm="x", Bearer scope="yes"'], BearerChallenge(scope="yes")),
        (['Bearer scope="first", scope="second"'], BearerChallenge(scope="first")),
        (['Bearer scope = "a"'], BearerChallenge(scope="a")),
        (['Bearer scope="open'], BearerChallenge()),
        ([", ,Bearer ,scope=a,,"], BearerChallenge(scope="a")),
        (['\x00Bearer scope="a"'], None),
        (["Bearer scope=" + "x" * 20_000], None),
    ],
)
def test_o02_table_of_headers(lines: list[str], expected: BearerChallenge | None) -> None:
    """O-02: several challenges, several lines, any case, tokens and quoted strings."""
    assert bearer_challenge(lines) == expected


_NAMES = st.text("abcdefghijklmnopqrstuvwxyz_-", min_size=1, max_size=12)
_VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
_CHALLENGES = st.lists(st.tuples(_NAMES, st.dictionaries(_NAMES, _VALUES, min_size=1, max_size=4)), max_size=4)


@settings(max_examples=60)
@given(_CHALLENGES, st.sampled_from([", ", ",", " ,\t"]))
def test_o02_what_is_written_is_read(challenges: list[tuple[str, dict[str, str]]], comma: str) -> None:
    """O-02: a round trip, with every value quoted."""

    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    line = comma.join(
        scheme + " " + comma.join(f"{name}={quoted(value)}" for name, value in params.items())
        for scheme, params in challenges
    )
    assert [(one.scheme, dict(one.params)) for one in parse_challenges([line])] == challenges


@settings(max_examples=60)
@given(st.lists(st.text(st.sampled_from('Bearer scope="\\, =a\t'), max_size=60), max_size=3))
def test_o02_no_line_breaks_the_parser(lines: list[str]) -> None:
    """O-02: whatever a stranger sends, there is an answer."""
    found = bearer_challenge(lines)
    assert found is None or isinstance(found, BearerChallenge)
