"""Options, keys and subcommands as Markdown, from the parsers and the schemas of the program itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from relay.app.commands.config import SCHEMAS
from relay.app.completion.commands import parsers
from relay.app.config.layers import variable_of
from relay.app.config.values import options_of

__all__ = ["PARTS", "command_line", "relay_keys", "server_keys"]


def command_line() -> str:
    """Return a section for each command: its usage, and its options as definitions."""
    known = parsers()
    shared = {_definition(known[""], action, prefix=""): action for action in known[""]._actions}
    return "\n".join(line for word, parser in known.items() for line in _command(word, parser, shared if word else {}))


def _command(word: str, parser: argparse.ArgumentParser, shared: Mapping[str, argparse.Action]) -> Iterator[str]:
    """Yield the section of one command. Options that are defined in `shared` become links."""
    name = f"mcp-relay {word}".strip()
    yield f"## {name}\n"
    yield from ("```text", _usage(parser), "```\n")
    others: list[argparse.Action] = []
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.help != argparse.SUPPRESS]
        actions = [action for action in actions if "--help" not in action.option_strings]
        if (chosen := _subparsers(actions)) is not None:
            for each, its_parser in chosen.items():
                yield from _command(f"{word} {each}".strip(), its_parser, shared)
            continue
        ours = [action for action in actions if not _is_shared(parser, action, shared)]
        others += [action for action in actions if action not in ours]
        if ours and group.title is not None:
            yield f"### {group.title[:1].upper()}{group.title[1:]} {{ #{_slug(name, group.title)} }}\n"
            yield from (_definition(parser, action, prefix=word) for action in ours)
    if links := [f"[`{_name(one)}`](#{_anchor('', one)})" for one in others]:
        yield f"Also, as [of the program itself](#mcp-relay): {', '.join(links)}.\n"


def _usage(parser: argparse.ArgumentParser) -> str:
    """Return how a command is written, a way on each line."""
    lines = parser.format_usage().removeprefix("usage: ").splitlines()
    return "\n".join(line.removeprefix(" " * 7) for line in lines)


def _is_shared(parser: argparse.ArgumentParser, action: argparse.Action, shared: Mapping[str, argparse.Action]) -> bool:
    return bool(action.option_strings) and _definition(parser, action, prefix="") in shared


def _subparsers(actions: list[argparse.Action]) -> Mapping[str, argparse.ArgumentParser] | None:
    """Return the parsers that a command's first word chooses from."""
    for action in actions:
        if isinstance(action, argparse._SubParsersAction):
            return {str(name): parser for name, parser in action.choices.items()}
    return None


def _definition(parser: argparse.ArgumentParser, action: argparse.Action, *, prefix: str) -> str:
    """Return an option and what it does."""
    formatter = parser._get_formatter()
    text = " ".join(formatter._expand_help(action).split()) if action.help else ""
    invocation = formatter._format_action_invocation(action)
    return f"`{invocation}` {{ #{_anchor(prefix, action)} }}\n:   {_escaped(text)}\n"


def _name(action: argparse.Action) -> str:
    """Return an option's first long name."""
    return next((flag for flag in action.option_strings if flag.startswith("--")), action.dest)


def _anchor(prefix: str, action: argparse.Action) -> str:
    return _slug(prefix, _name(action))


def relay_keys() -> str:
    """Return a table of the keys of the relay's own file and their variables."""
    schema = SCHEMAS["relay"]()["properties"]
    known = options_of(parsers()[""])
    rows = []
    for key, action in known.items():
        if action.help == argparse.SUPPRESS:
            continue
        link = f"[`--{key}`](command-line.md#{_anchor('', action)})"
        rows.append(f"| `{key}` | `{variable_of(key)}` | {_type(schema[key])} | {link} |")
    return "\n".join(["| key | variable | value | option |", "|---|---|---|---|", *rows, ""])


def server_keys() -> str:
    """Return a table of the keys of one server."""
    keys = SCHEMAS["servers"]()["$defs"]["server"]["properties"]
    rows = [
        f"| `{key}` | {_type(value)} | {_escaped(value['description'])} |"
        for key, value in keys.items()
        if isinstance(value, dict) and "description" in value
    ]
    return "\n".join(["| key | value | what it does |", "|---|---|---|", *rows, ""])


def _type(schema: dict[str, Any]) -> str:
    """Say in a word or two what a value is."""
    if "enum" in schema:
        return "one of " + ", ".join(f"`{word}`" for word in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(one) for one in schema["anyOf"]))
    if "$ref" in schema:
        return {"url": "an address", "transport": "a transport"}.get(schema["$ref"].rpartition("/")[2], "a table")
    if "if" in schema:
        return "a table or a list"
    kind = schema.get("type", "any value")
    kinds: list[str] = kind if isinstance(kind, list) else [kind]
    names = {"object": "table", "array": "list", "string": "text", "boolean": "`true` or `false`", "number": "number"}
    return " or ".join(names.get(one, one) for one in kinds)


def _escaped(text: str) -> str:
    """Return a text without what Markdown and its tables would read as marks."""
    for mark in ("\\", "|", "*", "<", "[", "_"):
        text = text.replace(mark, f"\\{mark}")
    return text


def _slug(*words: str) -> str:
    """Return an anchor of these words."""
    kept = "".join(c if c.isalnum() else "-" for c in " ".join(words).lower())
    return "-".join(part for part in kept.split("-") if part)


PARTS: Mapping[str, Callable[[], str]] = {
    "command line": command_line,
    "keys of the relay": relay_keys,
    "keys of a server": server_keys,
}
"""By the words of `<!-- generated: WORDS -->` on a page."""
