"""A key's line in TOML is that of its statement, wherever else the key's name stands."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from relay.app.config.toml import line_of

KEYS = st.sampled_from(["port", "args", "env", "a b", "command"])
VALUES = st.sampled_from(
    [
        "1",
        '"port = 1"',
        "[\n  1, # args = [\n  2,\n]",
        '"""\nport = 5\n[env]\n"""',
        "'''\nargs = 'x'\n'''",
        "{ port = 1, env = 'command' }",
    ]
)
BETWEEN = st.sampled_from(["", "\n", "# port = 1\n", "# [env]\n\n"])


@given(
    tables=st.lists(
        st.tuples(
            st.sampled_from(["[x]", "[x.y]", '["port"]', "[[list]]", "[servers.command]"]),
            st.lists(st.tuples(BETWEEN, KEYS, VALUES), max_size=4, unique_by=lambda statement: statement[1]),
        ),
        max_size=4,
        unique_by=lambda table: table[0],
    )
)
def test_the_line_of_a_statement(tables: list[tuple[str, list[tuple[str, str, str]]]]) -> None:
    """Every key of every table is found where its statement begins."""
    text = ""
    expected: dict[tuple[str | int, ...], int] = {}
    for header, statements in tables:
        name = tuple(header.strip("[]").replace('"', "").split("."))
        text += f"{header}\n"
        for between, key, value in statements:
            text += between
            if header != "[[list]]":
                expected[*name, key] = text.count("\n") + 1
            text += f'"{key}" = {value}\n'
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # one of the tables is there already, as another's key
    for path, line in expected.items():
        assert line_of(text, path) == line
        assert line_of(text, (*path, 0)) == line
    assert line_of(text, ("nowhere",)) is None
    assert line_of(text, ()) is None
