"""The script for bash: one function, without help from the package bash-completion, which may be missing."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from relay.app.completion.commands import Command, Flag

__all__ = ["script"]

_HEAD = """\
# bash completion for mcp-relay
_mcp_relay_add() {
    local line
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen "$@" -- "$cur")
}
_mcp_relay_paths() {
    compopt -o filenames 2>/dev/null
    _mcp_relay_add "$1"
}
_mcp_relay() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} before= command= flags= first= i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        if [[ ${COMP_WORDS[i]} == -- ]]; then
            # The words of a command of the user's: its program, then whatever it takes.
            ((i == COMP_CWORD - 1)) && _mcp_relay_add -c
            _mcp_relay_paths -f
            return
        fi
    done
    # bash takes --flag=value for three words.
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]]; then
        prev=${COMP_WORDS[COMP_CWORD-2]}
    elif ((COMP_CWORD > 1)); then
        before=${COMP_WORDS[COMP_CWORD-2]}
    fi
"""

_TAIL = """\
    if [[ $cur == -* ]]; then
        _mcp_relay_add -W "$flags"
    elif ((COMP_CWORD == 1)); then
        _mcp_relay_add -W "$first"
        [[ $cur ]] && _mcp_relay_add -c
    elif [[ $first ]] && ((COMP_CWORD == 2)); then
        _mcp_relay_add -W "$first"
    else
        _mcp_relay_paths -f
    fi
}
complete -o bashdefault -F _mcp_relay mcp-relay
"""


def script(commands: Sequence[Command]) -> str:
    """Return the script."""
    own, *others = commands
    words = "|".join(command.word for command in others)
    lines = [
        f"    ((COMP_CWORD > 1)) && case ${{COMP_WORDS[1]}} in {words}) command=${{COMP_WORDS[1]}} ;; esac",
        "    case $command in",
    ]
    for command in commands:
        first = [other.word for other in others] if command is own else list(command.choices)
        lines += _case(command, first)
    lines.append("    esac")
    return _HEAD + "\n".join(lines) + "\n" + _TAIL


def _case(command: Command, first: Sequence[str]) -> list[str]:
    flags = " ".join(name for flag in command.flags for name in flag.names)
    lines = [
        f"    {shlex.quote(command.word)})",
        f"        flags={shlex.quote(flags)} first={shlex.quote(' '.join(first))}",
    ]
    taking = [flag for flag in command.flags if flag.takes_value]
    if taking:
        lines += ["        case $prev in", *(_values(flag) for flag in taking), "        esac"]
    if pairs := [name for flag in taking if flag.values > 1 for name in flag.names]:
        lines.append(f"        case $before in {'|'.join(pairs)}) return ;; esac")
    return [*lines, "        ;;"]


def _values(flag: Flag) -> str:
    if flag.choices:
        what = f"_mcp_relay_add -W {shlex.quote(' '.join(flag.choices))}; "
    else:
        what = {"any": "", "directory": "_mcp_relay_paths -d; ", "file": "_mcp_relay_paths -f; "}[flag.kind]
    return f"        {'|'.join(flag.names)}) {what}return ;;"
