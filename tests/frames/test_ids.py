"""rename: exactly the named places change, and no other byte; what cannot be named back is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import assume, event, example, given
from hypothesis import strategies as st

from relay.frames import ids
from relay.frames.frame import Frame
from relay.frames.head import Kind
from relay.frames.ids import (
    SUBSCRIPTION_ID,
    Unnameable,
    look_for_token,
    subscription_of,
    with_id,
    with_number,
    with_subscription,
    with_target,
    with_token,
)

NUMBER = 7001

# -- JSON texts of which the test knows every place -------------------------------------------------------------------


@dataclass(frozen=True)
class Scalar:
    """A JSON text without members."""

    text: str


@dataclass(frozen=True)
class Array:
    members: tuple[Any, ...]


@dataclass(frozen=True)
class Object:
    """Keys as they are spelt (with their quotes) and what stands there."""

    members: tuple[tuple[str, Any], ...]


Node = Scalar | Array | Object
Piece = tuple[str, bool]


def spelt(node: Node, path: tuple[str, ...] | None, space: str) -> list[Piece]:
    """Write a tree; each piece says whether it is what stands at ``path``. None: the path does not lead here."""
    if isinstance(node, Scalar):
        return [(node.text, path == ())]
    pieces: list[Piece] = [("[" if isinstance(node, Array) else "{", False), (space, False)]
    for number, member in enumerate(node.members):
        if number:
            pieces += [("," + space, False)]
        if isinstance(node, Array):
            pieces += spelt(member, None, space)
        else:
            key, value = member
            rest = path[1:] if path and json.loads(key) == path[0] else None
            pieces += [(key + space + ":" + space, False), *spelt(value, rest, space)]
    text = "".join(piece for piece, _ in pieces[2:])
    if path == ():  # a container stands at the place: one piece, so that it is seen to be no name
        return [(pieces[0][0] + space + text + ("]" if isinstance(node, Array) else "}"), True)]
    return [*pieces, (space + ("]" if isinstance(node, Array) else "}"), False)]


def raw_of(pieces: list[Piece], value: object = None) -> bytes:
    """Join the pieces; ``value`` replaces what is named, but no null."""
    new = None if value is None else msgspec.json.encode(value).decode()
    return "".join(new if new is not None and named and text != "null" else text for text, named in pieces).encode()


def names(pieces: list[Piece]) -> list[str]:
    return [text for text, named in pieces if named and text != "null"]


def is_name(text: str) -> bool:
    """Tell, by Python's own JSON, whether a text is a string of real characters or an integer that can be kept."""
    value = json.loads(text)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return False
    try:
        return isinstance(value, int) or value.encode() is not None
    except UnicodeEncodeError:
        return False


def spellings(key: str) -> list[str]:
    """Spell a key in several ways that mean the same."""
    plain = json.dumps(key)
    first, last = f"\\u{ord(key[0]):04x}", f"\\u{ord(key[-1]):04X}"
    found = [plain, plain, plain, f'"{first}{key[1:]}"', f'"{key[:-1]}{last}"']
    return [*found, plain.replace("/", r"\/"), plain.replace(".", r"\u002E")]


KEYS = ("id", "method", "params", "result", "_meta", "progressToken", "requestId", SUBSCRIPTION_ID, "x", "")
keys = st.one_of(
    st.sampled_from([spelling for key in KEYS if key for spelling in spellings(key)] + ['""']),
    st.sampled_from([r'"\ud800"', r'"id\ud83d"', r'"\ud83d\ude00"', '"ü"', r'"\""', r'"\\"', '"id "', '"ID"']),
)
naming = st.one_of(
    st.integers(-3, 3).map(str),
    st.sampled_from([str(2**53 + 1), str(2**64), "9" * 60, "-" + "8" * 40, "-0"]),
    st.sampled_from(['"1"', '""', '"id"', r'"\u0031"', '"ünï☃😀"', r'"\ud83d\ude00"', r'"a\"b\\"', r'"\/"', '"x:1,"']),
)
odd = st.sampled_from(
    ["7.0", "1e1", "1E+2", "0.10", "-1.5", "1e400", "true", "null", "[]", "{}", r'"\ud800"', '[{"id":1}]']
)
texts = st.sampled_from(
    [
        '"id"',
        '":"',
        r'"{\"id\":1}"',
        r'"\"id\":5}"',
        '"progressToken"',
        r'"\ud800"',
        '"}"',
        '"],\\"id\\":7}"',
        '"ü☃"',
        '"\\u0026"',
    ]
)
scalars = st.one_of(naming, odd.filter(lambda text: text[0] not in "[{"), texts).map(Scalar)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=3).map(lambda members: Array(tuple(members))),
        st.lists(st.tuples(keys, inner), max_size=4).map(lambda members: Object(tuple(members))),
    )


nodes = st.recursive(scalars, containers, max_leaves=6)
spaces = st.sampled_from(["", "", " ", "\n", " \t\r\n "])


@st.composite
def placed(draw: st.DrawFn, path: tuple[str, ...], often: st.SearchStrategy[str]) -> Object:
    """Draw an object in which something stands at ``path``, perhaps twice, among anything else."""
    members = [(key, value) for key, value in draw(st.lists(st.tuples(keys, nodes), max_size=3))]
    key, *rest = path
    for _ in range(draw(st.sampled_from([1, 1, 1, 1, 0, 2]))):
        value = draw(placed(tuple(rest), often)) if rest else Scalar(draw(often))
        members.insert(draw(st.integers(0, len(members))), (draw(st.sampled_from(spellings(key))), value))
    return Object(tuple(members))


def envelope(draw: st.DrawFn, *members: tuple[str, Any]) -> Object:
    """Put the members of a message in any order, with something between them."""
    taken = {"id", "method", "params", "result", "error"}
    others = draw(st.lists(st.tuples(keys.filter(lambda key: json.loads(key) not in taken), nodes), max_size=2))
    return Object(tuple(draw(st.permutations([('"jsonrpc"', Scalar('"2.0"')), *members, *others]))))


often_names = st.one_of(naming, naming, naming, odd)


@st.composite
def requests(draw: st.DrawFn) -> tuple[Object, str]:
    members: list[tuple[str, Any]] = [('"method"', Scalar('"tools/call"'))]
    members += [(draw(st.sampled_from(spellings("id"))), Scalar(draw(naming)))]
    if draw(st.booleans()):
        members += [('"params"', draw(placed(("_meta", "progressToken"), often_names)))]
    return envelope(draw, *members), draw(spaces)


@st.composite
def notices(draw: st.DrawFn, method: str, *path: str) -> tuple[Object, str]:
    params = draw(placed(path, often_names))
    return envelope(draw, ('"method"', Scalar(json.dumps(method))), ('"params"', params)), draw(spaces)


@st.composite
def answers(draw: st.DrawFn) -> tuple[Object, str]:
    ids = [
        (draw(st.sampled_from(spellings("id"))), Scalar(draw(naming))) for _ in range(draw(st.sampled_from([1, 1, 2])))
    ]
    return envelope(draw, *ids, ('"result"', draw(st.one_of(nodes, placed(("_meta", SUBSCRIPTION_ID), naming))))), draw(
        spaces
    )


Drawn = tuple[Object, str]


def meaning(raw: bytes) -> Any:
    """Read JSON with its order and its repeated keys, so that nothing can change unseen."""
    return json.loads(raw, object_pairs_hook=tuple)


# -- the laws ---------------------------------------------------------------------------------------------------------


def check(
    drawn: Drawn, path: tuple[str, ...], kind: Kind, rename: Callable[[Frame], Frame], *, is_there: bool
) -> Frame | None:
    """See that ``rename`` changes what stands at ``path`` and nothing else, or refuses; return the renamed frame."""
    node, space = drawn
    pieces = spelt(node, path, space)
    frame = Frame(raw_of(pieces))
    assume(frame.head.kind is kind)
    named = names(pieces)
    assume(len(frame.raw) <= 2048 or len(named) < 2)  # of a large answer only the ends are searched for a second id
    if not all(map(is_name, named)) or (is_there and not named):
        event("refused")
        with pytest.raises(Unnameable):
            rename(frame)
        return None
    event("renamed" if named else "nothing to rename")
    after = rename(frame)
    assert after.raw == raw_of(pieces, NUMBER)
    return after


@given(drawn=answers())
def test_only_the_id_of_a_message_changes(drawn: Drawn) -> None:
    """Of any answer, in any order and spelling, the id becomes another, each of two, and no other byte."""
    after = check(drawn, ("id",), Kind.RESPONSE, lambda frame: with_id(frame, NUMBER), is_there=True)
    if after is not None:
        assert after.head == Frame(after.raw).head and after.head.id == NUMBER


@given(drawn=requests())
def test_only_the_id_and_the_token_of_a_request_change(drawn: Drawn) -> None:
    """Both become the number; a token that is no name, or that parsers could read differently, is refused."""
    node, space = drawn
    ids, tokens = (spelt(node, path, space) for path in (("id",), ("params", "_meta", "progressToken")))
    frame = Frame(raw_of(ids))
    assume(frame.head.kind is Kind.REQUEST)
    if not all(map(is_name, names(tokens))) or (names(tokens) and frame.head.token is None):
        with pytest.raises(Unnameable):
            with_number(frame, NUMBER)
        return
    after = with_number(frame, NUMBER)
    assert after.raw == with_places(
        with_places(frame.raw, ids), spelt(node, ("params", "_meta", "progressToken"), space), ids
    )
    assert after.head == Frame(after.raw).head
    assert (after.head.id, after.head.token) == (NUMBER, NUMBER if names(tokens) else None)


def with_places(raw: bytes, pieces: list[Piece], before: list[Piece] | None = None) -> bytes:
    """Replace what is named; ``before`` is what was named first, in the same text, and is replaced already."""
    if before is None:
        return raw_of(pieces, NUMBER)
    marks = [named for text, named in before for _ in text]
    out, at = [], 0
    for text, named in pieces:
        spans = marks[at : at + len(text)]
        at += len(text)
        if named and text != "null":
            out.append(str(NUMBER))
            continue
        last = False
        for character, is_id in zip(text, spans, strict=True):
            if not is_id:
                out.append(character)
            elif not last:
                out.append(str(NUMBER))
            last = is_id
    return "".join(out).encode()


@given(drawn=notices("notifications/progress", "progressToken"))
def test_only_the_token_of_a_progress_notification_changes(drawn: Drawn) -> None:
    """``params.progressToken``, each of two; a token of another kind is refused; none at all leaves it as it is."""
    check(
        drawn, ("params", "progressToken"), Kind.NOTIFICATION, lambda frame: with_token(frame, NUMBER), is_there=False
    )


@given(drawn=notices("notifications/cancelled", "requestId"))
def test_only_the_target_of_a_cancellation_changes(drawn: Drawn) -> None:
    """``params.requestId``."""
    check(drawn, ("params", "requestId"), Kind.NOTIFICATION, lambda frame: with_target(frame, NUMBER), is_there=False)


@given(drawn=notices("notifications/tools/list_changed", "_meta", SUBSCRIPTION_ID))
def test_only_the_subscription_of_a_notification_changes(drawn: Drawn) -> None:
    """``params._meta["io.modelcontextprotocol/subscriptionId"]``, however it is spelt."""
    path = ("params", "_meta", SUBSCRIPTION_ID)
    check(drawn, path, Kind.NOTIFICATION, lambda frame: with_subscription(frame, NUMBER), is_there=False)


@given(drawn=answers())
def test_only_the_subscription_in_an_answer_changes(drawn: Drawn) -> None:
    """``result._meta["io.modelcontextprotocol/subscriptionId"]``."""
    path = ("result", "_meta", SUBSCRIPTION_ID)
    check(drawn, path, Kind.RESPONSE, lambda frame: with_subscription(frame, NUMBER), is_there=False)


@given(drawn=notices("notifications/tools/list_changed", "_meta", SUBSCRIPTION_ID))
def test_the_subscription_of_a_notification_is_read_or_refused(drawn: Drawn) -> None:
    """What Python's JSON finds there is what is read; never None where something stands."""
    node, space = drawn
    raw = raw_of(spelt(node, None, space))
    expected: Any = json.loads(raw)
    for key in ("params", "_meta", SUBSCRIPTION_ID):
        expected = expected.get(key) if isinstance(expected, dict) else None
    try:
        found = subscription_of(Frame(raw))
    except Unnameable:
        event("refused")
        return
    if isinstance(expected, str):
        expected = "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in expected)
    assert found == expected and type(found) is type(expected)


@given(drawn=answers(), id=st.one_of(naming.filter(lambda text: "\\" not in text and text != "-0")))
@example(drawn=(Object((('"id"', Scalar("1")), ('"result"', Scalar('"id"')))), ""), id='"ü"')
def test_out_and_home_again_is_the_very_frame(drawn: Drawn, id: str) -> None:
    """A name that is spelt as JSON writers spell it comes home with the bytes it left with."""
    node, space = drawn
    node = Object(tuple((key, Scalar(id) if json.loads(key) == "id" else value) for key, value in node.members))
    frame = Frame(raw_of(spelt(node, None, space)))
    assume(frame.head.kind is Kind.RESPONSE and frame.head.id is not None)
    assert frame.head.id is not None
    home = with_id(with_id(frame, NUMBER), frame.head.id)
    assert home.raw == frame.raw and home.head.id == frame.head.id


@given(
    first=st.permutations(['"jsonrpc":"2.0"', '"id":5', '"result":%s']),
    space=spaces,
    fill=st.sampled_from(["x", r"\n", "☃", r"\u00e9", r"\u0041", r"\"id\":1,"]),
)
def test_a_large_answer_has_its_id_at_either_end_or_between(first: list[str], space: str, fill: str) -> None:
    """100 kB with ids within: only the message's own changes, in every order."""
    payload = '[{"id":5,"x":"' + fill * 3000 + '","y":[{"id":5}]},"id",5]'
    text = "{" + f"{space},{space}".join(first) + space + "}" + space
    frame = Frame((text % payload).encode())
    assert with_id(frame, 12).raw == (text.replace('"id":5', '"id":12') % payload).encode()


def test_a_large_answer_with_an_id_at_each_end_has_both_renamed() -> None:
    """Whichever of the two its client believes, it is its own."""
    frame = Frame(b'{"id":5,"jsonrpc":"2.0","result":"' + b"x" * 5000 + b'","id":5}')
    assert with_id(frame, "a").raw == frame.raw.replace(b'"id":5', b'"id":"a"')


def test_a_frame_without_an_id_is_not_sent_under_another_s() -> None:
    """Nothing to rename is a refusal: it must not leave as it came."""
    for raw in (b'{"jsonrpc":"2.0","method":"x"}', b'{"jsonrpc":"2.0","method":"x","params":{"id":1}}'):
        with pytest.raises(Unnameable, match="no id"):
            with_id(Frame(raw), 1)


def test_a_token_that_only_some_parsers_see_is_refused() -> None:
    """Two ``_meta``, the last without a token: a server that believes the first would use a token that is not ours."""
    raw = b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"progressToken":1},"_meta":{}}}'
    with pytest.raises(Unnameable, match="twice"):
        with_number(Frame(raw), 2)


@pytest.mark.parametrize("token", ["7.0", "1e1", "true", "{}", "[1]", r'"\ud800"'])
def test_a_token_of_another_type_is_refused(token: str) -> None:
    """It could not be named back."""
    raw = '{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"progressToken":%s}}}' % token  # noqa: UP031
    with pytest.raises(Unnameable):
        with_number(Frame(raw.encode()), 2)


def test_null_is_no_token() -> None:
    """It stays null, and nothing comes home for it."""
    raw = b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"progressToken":null}}}'
    after = with_number(Frame(raw), 2)
    assert after.raw == raw.replace(b'"id":1', b'"id":2') and after.head.token is None


def test_a_subscription_beside_half_a_surrogate_pair_is_read() -> None:
    """JavaScript cuts strings in the middle of an emoji; whose the notification is can still be told."""
    meta = json.dumps({SUBSCRIPTION_ID: 3})
    raw = rb'{"jsonrpc":"2.0","method":"x","params":{"_meta":%b,"uri":"\ud83d"}}' % meta.encode()
    assert subscription_of(Frame(raw)) == 3


def test_what_the_transport_knew_stays_with_the_frame() -> None:
    """``belongs_to`` is not renamed: it is the transport's."""
    assert with_id(Frame(b'{"jsonrpc":"2.0","id":1,"result":{}}', 1), 2).belongs_to == 1


def test_a_token_that_was_looked_for_is_not_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps over a large frame, between which others run, are not one."""
    text = r"\"" * 200_000
    raw = '{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"progressToken":"a\\u0062"},"text":"%s"}}' % text  # noqa: UP031
    looked, fresh = Frame(raw.encode()), Frame(raw.encode())
    look_for_token(looked)
    expected_frame = with_number(fresh, 2)
    monkeypatch.setattr(ids, "find_values", None)
    assert with_number(looked, 2).raw == expected_frame.raw
    assert b'"progressToken":2' in expected_frame.raw


def test_looking_for_a_token_refuses_nothing() -> None:
    looked = Frame(b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"progressToken":[]}}}')
    look_for_token(looked)
    with pytest.raises(Unnameable):
        with_number(looked, 2)
