"""The script for zsh: a file for its fpath, which can be sourced as well."""

from __future__ import annotations

import re
from collections.abc import Sequence

from relay.app.completion.commands import Command, Flag

__all__ = ["script"]

_HEAD = """\
#compdef mcp-relay
# zsh completion for mcp-relay
_mcp_relay() {
    local -a commands=(
"""

_TAIL = """\
        *)
            _arguments -S : $own '1: :_mcp_relay_first' '*: :_files'
            ;;
    esac
}
_mcp_relay_first() {
    _describe -t commands 'command of mcp-relay' commands
    [[ -n $PREFIX ]] && _command_names -e
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _mcp_relay "$@"
else
    compdef _mcp_relay mcp-relay
fi
"""


def script(commands: Sequence[Command]) -> str:
    """Return the script."""
    own, *others = commands
    lines = [f"        {_quoted(f'{command.word}:{command.help}')}" for command in others]
    lines += ["    )", "    local -a own=(", *_flags(own), "    )", "    local after=${words[(i)--]}"]
    lines += [
        "    if ((CURRENT > after)); then",
        "        # The words of a command of the user's.",
        "        shift after words",
        "        ((CURRENT -= after))",
        "        _normal",
        "        return",
        "    fi",
        "    ((CURRENT > 2)) || { _arguments -S : $own '1: :_mcp_relay_first'; return }",
        "    case $words[2] in",
    ]
    for command in others:
        first = [f"'1: :({' '.join(command.choices)})'"] if command.choices else []
        lines += [
            f"        {command.word})",
            "            shift words",
            "            ((CURRENT--))",
            "            local -a flags=(",
            *(f"        {line}" for line in _flags(command)),
            "            )",
            " ".join(["            _arguments -S : $flags", *first, "'*: :_files'"]),
            "            ;;",
        ]
    return _HEAD + "\n".join(lines) + "\n" + _TAIL


def _flags(command: Command) -> list[str]:
    return [f"        {_spec(flag, name)}" for flag in command.flags for name in flag.names]


def _spec(flag: Flag, name: str) -> str:
    """Return what ``_arguments`` wants to be told of one name of an option."""
    others = " ".join(flag.names)
    prefix = "*" if flag.is_repeatable else f"({others})"
    action = (
        f"({' '.join(flag.choices)})"
        if flag.choices
        else {"file": "_files", "directory": "_files -/"}.get(flag.kind, " ")
    )
    equals = "=" if flag.values == 1 and name.startswith("--") else ""
    text = re.sub(r"([\[\]:\\])", r"\\\1", flag.help)
    return _quoted(f"{prefix}{name}{equals}[{text}]" + f":value:{action}" * flag.values)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
