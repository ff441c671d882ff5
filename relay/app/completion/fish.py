"""The script for fish: a line for each option of each command."""

from __future__ import annotations

from collections.abc import Sequence

from relay.app.completion.commands import Command, Flag

__all__ = ["script"]

_HEAD = """\
# fish completion for mcp-relay
function __mcp_relay_words
    # What stands before the cursor, without the program itself.
    set -l words (commandline -opc)
    test (count $words) -gt 1; and printf '%s\\n' $words[2..-1]
end
function __mcp_relay_is --argument-names command
    set -l words (__mcp_relay_words)
    contains -- -- $words; and return 1
    if test -n "$command"
        test "$words[1]" = "$command"
    else
        not contains -- "$words[1]" $__mcp_relay_commands
    end
end
function __mcp_relay_begins
    test (count (__mcp_relay_words)) -eq 0
end
function __mcp_relay_is_first --argument-names command
    __mcp_relay_is $command; and test (count (__mcp_relay_words)) -eq 1
end
function __mcp_relay_program_follows
    set -l words (__mcp_relay_words)
    test (count $words) -gt 0; and test "$words[-1]" = --
end
"""


def script(commands: Sequence[Command]) -> str:
    """Return the script."""
    own, *others = commands
    lines = [
        f"set -g __mcp_relay_commands {' '.join(command.word for command in others)}",
        "complete -c mcp-relay -n __mcp_relay_begins -a '(__fish_complete_command)'",
        "complete -c mcp-relay -n __mcp_relay_program_follows -a '(__fish_complete_command)'",
    ]
    for command in others:
        lines.append(f"complete -c mcp-relay -n __mcp_relay_begins -a {command.word} -d {_quoted(command.help)}")
        if command.choices:
            condition = _quoted(f"__mcp_relay_is_first {command.word}")
            lines.append(f"complete -c mcp-relay -n {condition} -f -a {_quoted(' '.join(command.choices))}")
    for command in (own, *others):
        condition = _quoted(f"__mcp_relay_is {command.word}".rstrip())
        lines += [f"complete -c mcp-relay -n {condition} {_flag(flag)}" for flag in command.flags]
    return _HEAD + "\n".join(lines) + "\n"


def _flag(flag: Flag) -> str:
    words = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names]
    if flag.choices:
        words.append(f"-x -a {_quoted(' '.join(flag.choices))}")
    elif flag.kind == "directory":
        words.append("-x -a '(__fish_complete_directories)'")
    elif flag.kind == "file":
        words.append("-r -F")
    elif flag.takes_value:
        words.append("-x")
    return " ".join([*words, f"-d {_quoted(flag.help)}"])


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
