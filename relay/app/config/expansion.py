"""``${VAR}`` in the values of a configuration, from the relay's environment.

And the other forms of clients: ``$VAR`` of Gemini CLI, ``{env:VAR}`` of opencode, ``${{ secrets.VAR }}`` of
Continue.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from relay.app.secrets.names import is_secret_name

__all__ = ["Expander"]

# ``$${`` is a literal ``${``.
_BRACED = (
    r"\$(?P<literal>\$\{)"
    r"|\$\{(?:(?P<space>[A-Za-z]+):(?!-))?(?P<name>[A-Za-z_][\w.-]*|(?<=:)[^{}]*)(?P<default>:-(?P<value>[^}]*))?\}"
)
_REFERENCE = re.compile(_BRACED)
_OF_CLIENTS = re.compile(
    _BRACED + r"|\$\{\{ *(?P<hub>secrets|inputs)\.(?P<hub_name>[\w.-]+) *\}\}"
    r"|(?<![${])\{(?P<curly>env|file):(?P<curly_name>[^{}]+)\}"
    r"|\{\{(?P<user>[A-Za-z_]\w*)\}\}"
    r"|\$(?P<kept>\$?)(?P<bare>[A-Za-z_]\w*)",
    re.ASCII,
)
_ALONE = re.compile(r"(?:[A-Za-z]+ )?\$([A-Z_][A-Z0-9_]*)")
_OF_EDITORS = ("workspaceFolder", "workspaceFolderBasename", "pathSeparator", "file", "workspaceRoot")


@dataclass(slots=True)
class Expander:
    """Expands the values of one server, and notes what it cannot expand and what it must not show."""

    environment: Mapping[str, str]
    problems: list[str] = field(default_factory=list)
    """One sentence for each reference that has no value."""
    secrets: list[str] = field(default_factory=list)
    """Values of variables with a secret's name."""
    of_users: Collection[str] = ()
    """Names that each user of LibreChat fills in, as ``{{NAME}}``."""

    def expand(self, text: str) -> str:
        """Return a text with every ``${VAR}``, ``${VAR:-default}`` and ``${env:VAR}`` replaced."""
        return _REFERENCE.sub(self._replace, text) if "${" in text else text

    def expand_as_clients_do(self, text: str) -> str:
        """Return a text with the references of every client replaced; a ``$VAR`` that is not set stays."""
        return _OF_CLIENTS.sub(self._replace_any, text) if "$" in text or "{" in text else text

    def is_unset(self, text: str) -> bool:
        """Tell whether a text is nothing but a ``$VAR``, behind ``Bearer`` or not, that is not set."""
        alone = _ALONE.fullmatch(text)
        return alone is not None and alone[1] not in self.environment

    def _replace_any(self, match: re.Match[str]) -> str:
        if match["bare"]:
            return self._bare(match)
        if match["hub"]:
            return self._value(match["hub_name"], match.group())
        if match["curly"] == "env":
            return self._value(match["curly_name"], match.group())
        if match["curly"]:
            self._note(f"{match.group()} is not supported: {_instead('file')}")
            return match.group()
        if match["user"]:
            return self._of_a_user(match["user"], match.group())
        return self._replace(match)

    def _replace(self, match: re.Match[str]) -> str:
        if match["literal"]:
            return match["literal"]
        name = match["name"]
        if match["space"] not in (None, "env"):
            self._note(f"${{{match['space']}:{name}}} is not supported: {_instead(match['space'])}")
            return match.group()
        if match["default"] and not self.environment.get(name):
            return str(match["value"])
        return self._value(name, match.group())

    def _value(self, name: str, written: str) -> str:
        value = self.environment.get(name)
        if value is None and name == "userHome":
            value = os.path.expanduser("~")
        if value is None:
            why = "is a variable of editors, which the relay does not know" if name in _OF_EDITORS else "is not set"
            self._note(f"${{{name}}} {why}; set {name} where the relay is started, or write ${{{name}:-a default}}")
            return written
        if is_secret_name(name):
            self.secrets.append(value)
        return value

    def _bare(self, match: re.Match[str]) -> str:
        """Return what ``$NAME`` stands for; ``$$NAME`` is ``$NAME``. Neither means anything if it is not set."""
        if match["bare"] not in self.environment:
            return match.group()
        return f"${match['bare']}" if match["kept"] else self._value(match["bare"], match.group())

    def _of_a_user(self, name: str, written: str) -> str:
        if name in self.of_users or name.startswith("LIBRECHAT_"):
            self._note(f"{written} is for each user of LibreChat; write ${{{name}}} and set that variable")
        return written

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


def _instead(space: str) -> str:
    if space == "input":
        return "nobody can be asked here; write ${VAR} and set that variable"
    return "write the value itself, or ${VAR}"
