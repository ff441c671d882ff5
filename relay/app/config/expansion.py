"""``${VAR}`` in the values of a configuration, from our environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from relay.app.secret_names import is_secret_name

__all__ = ["Expander"]

# ``$${`` is a ``${`` that is meant so.
_REFERENCE = re.compile(
    r"\$(?P<literal>\$\{)"
    r"|\$\{(?:(?P<space>[A-Za-z]+):(?!-))?(?P<name>[A-Za-z_][\w.-]*|(?<=:)[^{}]*)(?P<default>:-(?P<value>[^}]*))?\}"
)
_OF_EDITORS = ("workspaceFolder", "workspaceFolderBasename", "pathSeparator", "file", "workspaceRoot")


@dataclass(slots=True)
class Expander:
    """Expands the values of one server, and notes what it cannot expand and what it must not show."""

    environment: Mapping[str, str]
    problems: list[str] = field(default_factory=list)
    """One sentence for each reference that has no value."""
    secrets: list[str] = field(default_factory=list)
    """Values of variables whose names say that nobody should read them."""

    def expand(self, text: str) -> str:
        """Return a text with every ``${VAR}``, ``${VAR:-default}`` and ``${env:VAR}`` replaced."""
        return _REFERENCE.sub(self._replace, text) if "${" in text else text

    def _replace(self, match: re.Match[str]) -> str:
        if match["literal"]:
            return match["literal"]
        name = match["name"]
        if match["space"] not in (None, "env"):
            self._note(f"${{{match['space']}:{name}}} is not supported: {_instead(match['space'])}")
            return match.group()
        value = self.environment.get(name)
        if match["default"] and not value:
            return str(match["value"])
        if value is None and name == "userHome":
            value = os.path.expanduser("~")
        if value is None:
            why = "is a variable of editors, which the relay does not know" if name in _OF_EDITORS else "is not set"
            self._note(f"${{{name}}} {why}; set {name} where the relay is started, or write ${{{name}:-a default}}")
            return match.group()
        if is_secret_name(name):
            self.secrets.append(value)
        return value

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


def _instead(space: str) -> str:
    if space == "input":
        return "nobody can be asked here; write ${VAR} and set that variable"
    return "write the value itself, or ${VAR}"
