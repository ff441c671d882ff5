"""YAML, as Goose, Continue and LibreChat keep it, and the line of every key: read with PyYAML, if that is installed.

Scalars mean what they mean in YAML 1.2 and to those programs: ``yes`` and ``12:30`` are texts. A number that would not
be written back alike, such as ``1.10`` or ``0755``, stays the text that it is.
"""

from __future__ import annotations

import re
from typing import Any

from relay.app.config.json_lines import Parsed, Path
from relay.errors import ConfigError

__all__ = ["read_yaml"]

_MAX_DEPTH = 100
_MAX_NODES = 100_000  # a few lines of aliases can stand for billions
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_CONSTANTS = {"": None, "~": None, "null": None, "true": True, "false": False}


def read_yaml(name: str, text: str) -> Parsed:
    """Read a text of one document. Raises ConfigError, with the line; also if there is no PyYAML."""
    try:
        import yaml
    except ImportError as exc:
        raise ConfigError(
            f"{name}: this is YAML, which only PyYAML reads: pip install 'mcp-frame-relay[yaml]', "
            f"or make it JSON: yq -o=json . FILE > servers.json"
        ) from exc
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        node = yaml.compose(text, Loader=loader)
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        problem = getattr(exc, "problem", None) or "it has a character that none may have"
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{name}{line}: this is not YAML: {problem}") from exc
    except RecursionError:
        raise ConfigError(f"{name}: tables and lists are nested too deep") from None
    parsed = Parsed(None)
    if node is not None:
        parsed.value = _Walk(name, parsed).value(node, (), 0)
    return parsed


class _Walk:
    """Makes values of PyYAML's nodes, which have no types."""

    def __init__(self, name: str, parsed: Parsed) -> None:
        self._name = name
        self._parsed = parsed
        self._nodes = 0

    def value(self, node: Any, path: Path, depth: int) -> object:
        self._nodes += 1
        if depth > _MAX_DEPTH or self._nodes > _MAX_NODES:
            raise ConfigError(f"{self._name}, line {_line(node)}: tables, lists and aliases are nested too deep")
        if node.id == "mapping":
            return self._mapping(node, path, depth)
        if node.id == "sequence":
            return [self._at(item, (*path, index), depth) for index, item in enumerate(node.value)]
        return _scalar(node)

    def _at(self, node: Any, path: Path, depth: int) -> object:
        self._parsed.lines.setdefault(path, _line(node))
        return self.value(node, path, depth + 1)

    def _mapping(self, node: Any, path: Path, depth: int) -> dict[str, object]:
        own: dict[str, object] = {}
        merged: dict[str, object] = {}
        for key, child in node.value:
            if key.id == "scalar" and key.value == "<<" and not key.style:
                sources = child.value if child.id == "sequence" else [child]
                for source in sources:
                    found = self.value(source, path, depth + 1)
                    merged = {**found, **merged} if isinstance(found, dict) else merged
                continue
            name = key.value if key.id == "scalar" else ""
            here = (*path, name)
            if name in own:
                self._parsed.duplicates[here] = (self._parsed.lines[here], _line(key))
            self._parsed.lines[here] = _line(key)
            own[name] = self.value(child, here, depth + 1)
        return {**merged, **own}


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1


def _scalar(node: Any) -> object:
    text: str = node.value
    if node.style:  # in quotes, or a block
        return text
    if text.lower() in _CONSTANTS and text in (text.lower(), text.upper(), text.capitalize()):
        return _CONSTANTS[text.lower()]
    if _INTEGER.fullmatch(text) and len(text) < 20:
        return int(text)
    try:
        return float(text) if repr(float(text)) == text else text
    except ValueError:
        return text
