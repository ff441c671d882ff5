"""The public Python API as text: every name of ``relay.__all__`` and ``relay.testing.__all__``, and its signature.

``python -m tests.docs.public_api`` writes public_api.txt again. Look at the difference: what a line loses, users lose.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import relay
import relay.testing

__all__ = ["RECORD", "recorded", "signatures"]

RECORD = Path(__file__).with_name("public_api.txt")


def signatures() -> str:
    """Return a line for each public name, and one for each public member of a class."""
    lines = [line for module in (relay, relay.testing) for line in _of_module(module)]
    return "\n".join(lines) + "\n"


def recorded() -> str:
    """Return what public_api.txt says."""
    return RECORD.read_text(encoding="utf-8")


def _of_module(module: ModuleType) -> Iterator[str]:
    for name in module.__all__:
        yield from _of_value(f"{module.__name__}.{name}", getattr(module, name))


def _of_value(name: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        yield from _of_class(name, value)
    elif callable(value) and inspect.isroutine(value):
        yield f"{_kind(value)} {name}{_signature(value)}"
    elif name.endswith("__version__"):
        yield f"{name}: str"
    else:
        yield f"{name}: {type(value).__name__}"


def _of_class(name: str, value: type) -> Iterator[str]:
    bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
    yield f"class {name}({bases})"
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            default = "" if _has_no_default(field) else " = …"
            yield f"    {field.name}: {field.type}{default}"
    elif issubclass(value, enum.Enum):
        yield from (f"    {member.name}" for member in value)
    elif not issubclass(value, BaseException) and not getattr(value, "_is_protocol", False):
        yield f"    def __init__{_signature(value)}"
    for member, what in sorted(vars(value).items()):
        if member.startswith("_"):
            continue
        plain = inspect.unwrap(what.__func__) if isinstance(what, classmethod | staticmethod) else what
        if inspect.isfunction(plain):
            yield f"    {_kind(plain)} {member}{_signature(plain)}"
        elif isinstance(what, property):
            yield f"    {member}: property"
    for member, annotation in getattr(value, "__annotations__", {}).items():
        if not dataclasses.is_dataclass(value) and not member.startswith("_"):
            yield f"    {member}: {annotation}"


def _has_no_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _kind(function: Any) -> str:
    return "async def" if inspect.iscoroutinefunction(function) else "def"


def _signature(function: Any) -> str:
    """Return a signature that is the same in every version of Python: defaults of our own as dots."""
    text = str(inspect.signature(function)).replace("'", "")
    text = re.sub(r"<[^>]*>", "…", text)
    return re.sub(r"= \w+\([^()]*(?:\([^()]*\)[^()]*)*\)", "= …", text)


if __name__ == "__main__":
    RECORD.write_text(signatures(), encoding="utf-8")
