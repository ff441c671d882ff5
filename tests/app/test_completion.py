"""``mcp-relay completion``: the real shells complete what the real parsers read."""

from __future__ import annotations

import contextlib
import functools
import os
import pty
import select
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relay import cli
from relay.app.completion import SHELLS, script
from relay.app.completion.commands import _PARSERS, commands

WORDS = {*cli._SUBCOMMANDS, *cli._WITHOUT_LOOP, "as"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one of each, and the scripts."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "some-folder").mkdir()
    (folder / "some-folders").mkdir()  # zsh does not list one choice
    (folder / "some file").touch()
    for shell in SHELLS:
        (folder / f"script.{shell}").write_text(script(shell))
    return folder


def bash(line: str, folder: Path) -> list[str]:
    *words, last = shlex.split(line + "''")
    # As readline does: the equals sign is a word.
    words = [part for word in [*words, last] for part in (word.partition("=") if "=" in word else [word])]
    words = [word for number, word in enumerate(words) if word or number == len(words) - 1]
    program = (
        f"source script.bash\nCOMP_WORDS=({shlex.join(words)})\nCOMP_CWORD={len(words) - 1}\n_mcp_relay\n"
        "((${#COMPREPLY[@]})) && printf '%s\\n' \"${COMPREPLY[@]}\"\ntrue"
    )
    return _run(["bash", "--norc", "-c", program], folder)


def fish(line: str, folder: Path) -> list[str]:
    lines = _run(["fish", "--no-config", "-c", f"source script.fish; complete -C {shlex.quote(line)}"], folder)
    return [line.split("\t")[0].split("=")[-1].rstrip("/") for line in lines]


class Zsh:
    """An interactive shell on a terminal, asked for lists: one for all tests, as it starts slowly."""

    def __init__(self, folder: Path) -> None:
        self._terminal, theirs = pty.openpty()
        environment = {"PATH": os.environ["PATH"], "TERM": "dumb", "HOME": str(folder), "COLUMNS": "9999"}
        self._process = subprocess.Popen(
            ["zsh", "-f", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment,
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self._seen = ""
        os.write(
            self._terminal,
            b"autoload -Uz compinit; compinit -u -D; source ./script.zsh; unsetopt list_types prompt_sp; LISTMAX=9999\n"
            b"zstyle ':completion:*' verbose no; bindkey '^T' list-choices; PS1=REA'DY> '\n",
        )
        self._until("READY> ")

    def __call__(self, line: str) -> list[str]:
        """Type a line and the key that lists; return the words of the list."""
        os.write(self._terminal, f"{line}\x14\x15print -r -- E'ND'\n".encode())
        shown = self._until("\nEND").partition("READY> ")[0]  # then the line again
        self._until("READY> ")  # what is typed before would be echoed, not completed
        return [word.rstrip("/") for word in shown.replace(line, "", 1).split()]

    def _until(self, text: str) -> str:
        """Return what came before ``text``."""
        while text not in self._seen:
            assert select.select([self._terminal], [], [], 15)[0], self._seen
            self._seen += os.read(self._terminal, 65536).decode()
        came, _, self._seen = self._seen.partition(text)
        return came

    def close(self) -> None:
        self._process.kill()
        self._process.wait(10)
        os.close(self._terminal)


@pytest.fixture(scope="module")
def zsh(folder: Path) -> Iterator[Callable[[str], list[str]]]:
    if shutil.which("zsh") is None:
        pytest.skip("no zsh on this machine")
    with contextlib.closing(Zsh(folder)) as shell:
        yield shell


def _run(argv: list[str], folder: Path) -> list[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    done = subprocess.run(argv, capture_output=True, text=True, cwd=folder, env=environment, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.fixture(params=SHELLS)
def ask(request: pytest.FixtureRequest, folder: Path) -> Callable[[str], list[str]]:
    """What a real shell offers at the end of a line."""
    if shutil.which(request.param) is None:
        pytest.skip(f"no {request.param} on this machine")
    if request.param == "zsh":
        shell: Callable[[str], list[str]] = request.getfixturevalue("zsh")
        return shell
    return functools.partial({"bash": bash, "fish": fish}[request.param], folder=folder)


@pytest.mark.parametrize(
    ("line", "wanted", "unwanted"),
    [
        ("mcp-relay ", {*WORDS}, {"--port"}),
        ("mcp-relay --p", {"--port", "--pass-environment"}, {"--cwd", "--strategy"}),
        ("mcp-relay --share ", {"session", "shared", "request"}, {"some file", "some-folder"}),
        ("mcp-relay --debug --transport s", {"sse", "streamablehttp"}, {"auto"}),
        ("mcp-relay --cwd ", {"some-folder"}, {"file"}),
        ("mcp-relay --port ", set(), {"some-folder", "session", "--host"}),
        ("mcp-relay -H ", set(), {"some-folder", "test"}),
        ("mcp-relay test --", {"--json", "--timeout", "--headers"}, {"--port", "--client"}),
        ("mcp-relay load-balance --strategy ", {"round-robin", "least-in-flight"}, {"some-folder"}),
        ("mcp-relay install --client ", {"claude-desktop", "zed"}, {"some-folder"}),
        ("mcp-relay completion ", {*SHELLS}, {"some-folder"}),
        ("mcp-relay config ", {"check", "show", "schema"}, {"some-folder"}),
        ("mcp-relay config check ", {"some-folder"}, {"check"}),
        ("mcp-relay as ", {"supergateway", "mcp-proxy"}, {"some-folder"}),
        ("mcp-relay --port 1 -- cat some-f", {"some-folder"}, {"--port"}),
        ("mcp-relay -- my-server --p", set(), {"--port"}),
    ],
)
def test_the_shell_offers(ask: Callable[[str], list[str]], line: str, wanted: set[str], unwanted: set[str]) -> None:
    offered = set(ask(line))
    assert wanted <= offered
    assert not offered & unwanted


def test_an_option_takes_two_words(zsh: Callable[[str], list[str]], folder: Path) -> None:
    """fish knows no such options, and offers files for the second."""
    assert bash("mcp-relay -H Name ", folder) == []
    assert "some-folder" not in zsh("mcp-relay -H Name ")


def test_bash_completes_values_after_an_equals_sign(folder: Path) -> None:
    assert bash("mcp-relay --share=s", folder) == ["session", "shared", "stateless"]
    assert bash("mcp-relay --share=", folder) == ["session", "shared", "request", "stateless"]
    assert set(bash("mcp-relay --cwd=so", folder)) == {"some-folder", "some-folders"}


def test_bash_offers_programs_after_the_dashes(folder: Path) -> None:
    assert "bash" in bash("mcp-relay -- bas", folder)
    assert sorted(bash("mcp-relay -- cat some", folder)) == ["some file", "some-folder", "some-folders"]


def test_every_option_of_every_command_is_in_every_script() -> None:
    """Whatever a parser reads: one that is added tomorrow, too."""
    texts = {shell: script(shell) for shell in SHELLS}
    for command in commands():
        assert command.flags or command.choices
        for flag in command.flags:
            for name in flag.names:
                assert name in texts["bash"] and name in texts["zsh"]
                assert f"-{'l' if name.startswith('--') else 's'} {name.lstrip('-')}" in texts["fish"]


def test_every_command_of_the_program_is_known() -> None:
    assert {*_PARSERS, "as", "completion"} == {"", *WORDS}


def test_a_shell_that_is_not_known_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "tcsh"]) == 2
    shown, said = capfd.readouterr()
    assert shown == ""
    assert said.count("\n") == 1 and "'tcsh'" in said


def test_the_script_is_printed_alone(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "bash"]) == 0
    assert capfd.readouterr() == (script("bash"), "")
