"""``mcp-relay install`` writes the right entry into the right file after a question, and changes nothing else."""

from __future__ import annotations

import json
import logging
import os
import pty
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import relay
from relay import cli
from relay.app.config.jsonc import read
from relay.app.install import change
from relay.app.install.careful_write import replace_file
from relay.app.install.clients import CLIENTS, Machine
from relay.app.install.json_edit import put_entry, remove_entry
from relay.app.options.relay import parse as parse_args
from relay.errors import RelayError

URL = "https://host/mcp"
SERVER = Path(__file__).parents[1] / "e2e" / "stdio_server.py"
ZED = """\
// my settings
{
    "theme": "One Dark", // dark
    "context_servers": {
        /* mine */ "other": {"command": "x", "env": {"THEIRS": "hunter22"}},
    },
}
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of its own, and no log of the program's left behind."""
    for name in ("XDG_CONFIG_HOME", "FLATPAK_XDG_CONFIG_HOME", "CLAUDE_CONFIG_DIR", "API_ACCESS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield tmp_path
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the program's words; return its exit code, stdout and stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        code = cli.main(["install", *words])
        return code, *capfd.readouterr()

    return run


def _entry(run: Callable[..., tuple[int, str, str]], *words: str, client: str = "cursor") -> dict[str, Any]:
    code, printed, _ = run("--client", client, "--print", "a", *words)
    assert code == 0
    entry: dict[str, Any] = json.loads(printed)[CLIENTS[client].key]["a"]
    return entry


# Which file.


@pytest.mark.parametrize(
    ("platform", "environment", "client", "file"),
    [
        ("linux", {}, "claude-desktop", ".config/Claude/claude_desktop_config.json"),
        ("linux", {"XDG_CONFIG_HOME": "/xdg"}, "claude-desktop", "/xdg/Claude/claude_desktop_config.json"),
        ("darwin", {}, "claude-desktop", "Library/Application Support/Claude/claude_desktop_config.json"),
        ("win32", {}, "claude-desktop", "AppData/Roaming/Claude/claude_desktop_config.json"),
        ("win32", {"APPDATA": "/roaming"}, "claude-desktop", "/roaming/Claude/claude_desktop_config.json"),
        ("linux", {}, "claude-code", ".claude.json"),
        ("linux", {"CLAUDE_CONFIG_DIR": "/cc"}, "claude-code", "/cc/.claude.json"),
        ("darwin", {}, "cursor", ".cursor/mcp.json"),
        ("win32", {}, "cursor", ".cursor/mcp.json"),
        ("linux", {"XDG_CONFIG_HOME": "/xdg"}, "vscode", "/xdg/Code/User/mcp.json"),
        ("linux", {"XDG_CONFIG_HOME": "relative"}, "vscode", ".config/Code/User/mcp.json"),
        ("darwin", {}, "vscode", "Library/Application Support/Code/User/mcp.json"),
        ("win32", {"APPDATA": "/roaming"}, "vscode", "/roaming/Code/User/mcp.json"),
        ("linux", {"XDG_CONFIG_HOME": "/xdg"}, "zed", "/xdg/zed/settings.json"),
        ("linux", {"XDG_CONFIG_HOME": "/x", "FLATPAK_XDG_CONFIG_HOME": "/fp"}, "zed", "/fp/zed/settings.json"),
        ("darwin", {"XDG_CONFIG_HOME": "/xdg"}, "zed", ".config/zed/settings.json"),
        ("win32", {"APPDATA": "/roaming"}, "zed", "/roaming/Zed/settings.json"),
        ("linux", {}, "windsurf", ".codeium/windsurf/mcp_config.json"),
    ],
)
def test_each_client_keeps_its_file_where_it_does(
    platform: str, environment: dict[str, str], client: str, file: str, home: Path
) -> None:
    assert CLIENTS[client].file(Machine(home, environment, platform)) == home / file


@pytest.mark.parametrize("folder", ["Claude-Data/claude_x", "Packages/Claude_abc/LocalCache/Roaming/Claude"])
def test_claude_from_the_windows_store_has_a_folder_of_its_own(home: Path, folder: str) -> None:
    local = home / "AppData" / "Local"
    (local / folder).mkdir(parents=True)
    file = CLIENTS["claude-desktop"].file(Machine(home, {}, "win32"))
    assert file == local / folder / "claude_desktop_config.json"


def test_list_says_which_clients_are_there(run: Callable[..., tuple[int, str, str]], home: Path) -> None:
    (home / ".cursor").mkdir()
    (home / ".claude.json").write_text('{"mcpServers": {"one": {}}, "projects": {}}')
    (home / ".config/zed").mkdir(parents=True)
    (home / ".config/zed/settings.json").write_text("{,}")
    code, shown, _ = run("--list")
    states = {line.split()[0]: line[len("claude-desktop  ") :].split("   ")[0].strip() for line in shown.splitlines()}
    assert code == 0
    assert states == {
        "claude-desktop": "not found",
        "claude-code": "found, 1 server",
        "cursor": "found, no servers",
        "vscode": "not found",
        "zed": "found, cannot be read",
        "windsurf": "not found",
    }


def _entry_of(server: Path, *words: str, **env: str) -> str:
    """Return a client's configuration with an entry that relays a server, and one that is somebody else's."""
    args = ["-m", "relay", "--listen", "stdio:", *words, "--", sys.executable, str(server)]
    entries = {"mine": {"command": sys.executable, "args": args, "env": env}, "other": {"command": "x", "args": []}}
    return json.dumps({"mcpServers": entries})


def test_the_list_shows_each_entry_with_its_target_and_whether_it_answers(
    run: Callable[..., tuple[int, str, str]], home: Path
) -> None:
    (home / ".cursor").mkdir()
    (home / ".cursor/mcp.json").write_text(_entry_of(SERVER, SECRET="hunter22"))
    code, shown, _ = run("--list")
    assert code == 0
    (line,) = (line for line in shown.splitlines() if "mine" in line)
    assert f"ok      cursor: mine → {sys.executable} {SERVER}: stdio_server" in line
    assert "other" not in shown and "hunter22" not in shown


def test_doctor_says_which_entries_do_not_answer(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    assert "no client has an entry that starts mcp-relay" in capfd.readouterr().err
    (home / ".cursor").mkdir()
    (home / ".cursor/mcp.json").write_text(_entry_of(SERVER))
    (home / ".codeium/windsurf").mkdir(parents=True)
    (home / ".codeium/windsurf/mcp_config.json").write_text(_entry_of(home / "gone.py"))
    assert cli.main(["doctor", "--timeout", "20"]) == 1
    good, bad = capfd.readouterr().out.splitlines()
    assert good.startswith("ok      cursor: mine → ")
    assert bad.startswith(f"failed  windsurf: mine → {sys.executable} {home / 'gone.py'}: ")


# Out of a client.


def test_uninstall_takes_out_what_install_put_in(
    run: Callable[..., tuple[int, str, str]], home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (home / ".config/zed").mkdir(parents=True)
    file = home / ".config/zed/settings.json"
    file.write_text(ZED)
    assert run("--client", "zed", "--yes", "mine", "-e", "TOKEN", "hunter33", "--", "sh")[0] == 0
    assert cli.main(["uninstall", "--client", "zed", "mine", "--yes"]) == 0
    shown, said = capfd.readouterr()
    assert "-" in shown and "hunter33" not in shown
    assert "was written; as it was before:" in said
    assert read(file.read_text()) == read(ZED)
    assert file.read_text().replace('"}}\n', '"}},\n') == ZED  # but for the comma after the last


@pytest.mark.parametrize(
    ("name", "said"),
    [("other", "'other' starts another program; no entry starts mcp-relay"), ("none", "'none' is not there; no entry")],
)
def test_uninstall_leaves_what_is_not_ours(home: Path, capfd: pytest.CaptureFixture[str], name: str, said: str) -> None:
    (home / ".config/zed").mkdir(parents=True)
    file = home / ".config/zed/settings.json"
    file.write_text(ZED)
    assert cli.main(["uninstall", "--client", "zed", name, "--yes"]) == 2
    assert said in capfd.readouterr().err
    assert file.read_text() == ZED


_BLANK = st.sampled_from(["", " ", "\n  ", " /* c */ ", " // d\n", "\r\n\t"])


@st.composite
def _objects(draw: st.DrawFn) -> str:
    names = draw(st.lists(st.sampled_from("abc"), unique=True, max_size=3))
    members = [draw(_BLANK) + f'"{name}"' + draw(_BLANK) + ":" + draw(_BLANK) + f'{{"v": "{name}"}}' for name in names]
    inside = ",".join(member + draw(_BLANK) for member in members)
    comma = draw(st.sampled_from(["", ","])) if names else ""
    return (
        "{"
        + draw(_BLANK)
        + '"servers":'
        + draw(_BLANK)
        + "{"
        + inside
        + comma
        + draw(_BLANK)
        + "}"
        + draw(_BLANK)
        + "}"
    )


@given(_objects(), st.sampled_from("abcd"))
def test_an_entry_goes_in_and_out_of_any_text_and_no_comment_is_lost(text: str, name: str) -> None:
    before = read(text)
    with_it = put_entry(text, "servers", name, {"v": 5})
    assert read(with_it) == {"servers": {**before["servers"], name: {"v": 5}}}
    without = remove_entry(with_it, "servers", name)
    before["servers"].pop(name, None)
    assert read(without) == before
    for comment in ("/* c */", "// d"):
        inside = text.count(comment) - (0 if name not in read(text)["servers"] else text.count(comment))
        assert without.count(comment) >= inside


def test_a_secret_in_a_file_that_others_may_read_is_a_warning(
    run: Callable[..., tuple[int, str, str]], home: Path
) -> None:
    (home / ".cursor").mkdir()
    file = home / ".cursor/mcp.json"
    file.write_text("{}")
    file.chmod(0o644)
    token = ("-H", "Authorization", "Bearer hunter22")
    _, _, said = run("--client", "cursor", "--yes", "a", URL)
    assert "a secret" not in said
    _, _, said = run("--client", "cursor", "--yes", "a", "-H", "Authorization", "Bearer ${TOKEN}", URL)
    assert "a secret" not in said
    _, _, said = run("--client", "cursor", "--yes", "a", *token, URL)
    assert f"{file} now holds a secret, and other users may read the file: chmod 600 {file}" in said
    assert "${NAME}" in said and "auth login" in said and "hunter22" not in said
    file.chmod(0o600)
    assert "a secret" not in run("--client", "cursor", "--yes", "b", *token, URL)[2]


# What entry.


def test_the_entry_starts_this_very_program_with_the_options(run: Callable[..., tuple[int, str, str]]) -> None:
    entry = _entry(run, "--transport", "sse", "--max-frame-bytes", "1M", "-H", "X-Team", "blue", "--no-debug", URL)
    assert os.path.isabs(entry["command"])
    words = entry["args"][entry["args"].index("--transport") :]
    assert words == [
        "--transport", "sse", "-H", "X-Team", "blue", "--max-frame-bytes", "1M", "--no-debug", URL,
    ]  # fmt: skip
    assert "env" not in entry


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (["--verify-ssl"], ["--verify-ssl"]),
        (["--verify-ssl", "ca.pem"], ["--verify-ssl={home}/ca.pem"]),
        (["--verify-ssl=false"], ["--verify-ssl=false"]),
        (["--no-verify-ssl"], ["--no-verify-ssl"]),
        (["--ca-file", "ca.pem"], ["--ca-file", "{home}/ca.pem"]),
        (["--pass-environment", "--no-debug"], ["--pass-environment", "--no-debug"]),
        (["--log-level", "debug", "--drain-timeout", "5"], ["--drain-timeout", "5", "--log-level", "debug"]),
    ],
)
def test_each_option_is_written_so_that_it_is_read_again(
    run: Callable[..., tuple[int, str, str]],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: list[str],
    written: list[str],
) -> None:
    """As it was given, but for paths, which must not depend on where we are."""
    (home / "ca.pem").touch()
    monkeypatch.chdir(home)
    target = ["--", sys.executable if "--pass-environment" in given else URL]
    entry = _entry(run, *given, *target)
    words = [word.format(home=home) for word in written]
    first = next(number for number, word in enumerate(entry["args"]) if word == words[0])
    assert sorted(entry["args"][first : first + len(words)]) == sorted(words)
    options, there = parse_args(entry["args"][first:])
    wanted, here = parse_args([*given, *target])
    assert there == here
    for name, value in vars(wanted).items():
        if name not in ("target", "args", "listen", "listens", "unused", "ca_file", "verify_ssl"):
            assert getattr(options, name) == value


def test_a_command_is_joined_to_the_entrys_stdio(run: Callable[..., tuple[int, str, str]], home: Path) -> None:
    """Its variables are kept in env; what depends on the directory we are in does not any more."""
    (home / "server").write_text("#!/bin/sh\n")
    (home / "server").chmod(0o755)
    os_home = os.getcwd()
    os.chdir(home)
    try:
        entry = _entry(run, "-e", "TOKEN", "t0ps3cret", "--cwd", ".", "--", "./server", "-x", "--", "y")
    finally:
        os.chdir(os_home)
    words = entry["args"][entry["args"].index("--cwd") :]
    assert words == [
        "--cwd", str(home), "--listen", "stdio:", "--pass-variable", "TOKEN",
        "--", str(home / "server"), "-x", "--", "y",
    ]  # fmt: skip
    assert entry["env"] == {"TOKEN": "t0ps3cret"}


@pytest.mark.parametrize(
    ("client", "key", "kind"),
    [
        ("claude-desktop", "mcpServers", None),
        ("claude-code", "mcpServers", "stdio"),
        ("cursor", "mcpServers", "stdio"),
        ("vscode", "servers", "stdio"),
        ("zed", "context_servers", None),
        ("windsurf", "mcpServers", None),
    ],
)
def test_each_client_gets_the_form_it_reads(
    run: Callable[..., tuple[int, str, str]], client: str, key: str, kind: str | None
) -> None:
    _, printed, said = run("--client", client, "--print", "a", URL)
    assert list(json.loads(printed)) == [key]
    assert json.loads(printed)[key]["a"].get("type") == kind
    assert said == ""


def test_a_token_goes_where_the_process_list_does_not_show_it(run: Callable[..., tuple[int, str, str]]) -> None:
    entry = _entry(run, "-H", "Authorization", "Bearer t0ps3cret", URL)
    assert entry["env"] == {"API_ACCESS_TOKEN": "t0ps3cret"}
    assert "t0ps3cret" not in " ".join(entry["args"])


@pytest.mark.parametrize(
    ("words", "variable"),
    [
        (("--username", "me", "--password"), "MCP_RELAY_PASSWORD"),
        (("--client-id", "me", "--token-url", "https://as/", "--client-secret"), "MCP_RELAY_CLIENT_SECRET"),
    ],
)
def test_so_does_the_secret_of_a_login(
    run: Callable[..., tuple[int, str, str]], words: tuple[str, ...], variable: str
) -> None:
    """And the change that is shown before it is made does not show it."""
    entry = _entry(run, *words, "t0ps3cret", URL)
    assert entry["env"] == {variable: "t0ps3cret"}
    assert entry["args"][-len(words) :] == [*words[:-1], URL]
    _, shown, _ = run("--client", "cursor", "a", *words, "t0ps3cret", URL)
    assert f'"{variable}": "***"' in shown and "t0ps3cret" not in shown


def test_a_login_that_is_not_complete_is_not_installed(run: Callable[..., tuple[int, str, str]]) -> None:
    code, _, said = run("--client", "cursor", "--print", "a", "--username", "me", URL)
    assert (code, said.count("\n")) == (2, 1) and "--username has no effect without --password" in said


def test_what_is_of_no_use_is_left_out_with_a_warning(run: Callable[..., tuple[int, str, str]]) -> None:
    _, printed, said = run("--client", "zed", "--print", "a", "--port", "3000", "--cwd", "/", URL)
    assert json.loads(printed)["context_servers"]["a"]["args"][-1:] == [URL]
    assert "--port" not in printed and "--cwd" not in printed
    assert "--port has no effect" in said and "--cwd has no effect" in said


def test_a_command_that_cannot_be_found_is_a_warning(run: Callable[..., tuple[int, str, str]]) -> None:
    code, _, said = run("--client", "zed", "--print", "a", "--", "no-such-program-here")
    assert code == 0
    assert "'no-such-program-here' was not found" in said


def test_without_a_script_the_interpreter_is_named(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["/nowhere/mcp-relay"])
    monkeypatch.setattr(sys, "executable", str(home / "bin" / "python"))
    entry = _entry(run, URL)
    assert (entry["command"], entry["args"]) == (str(home / "bin" / "python"), ["-m", "relay", URL])
    (home / "bin").mkdir()
    (home / "bin" / "mcp-relay").write_text("#!/bin/sh\n")
    (home / "bin" / "mcp-relay").chmod(0o755)
    assert _entry(run, URL)["command"] == str(home / "bin" / "mcp-relay")


@pytest.mark.parametrize("folder", [".cache/uv/archive-v0/uP2W/bin", "pipx/.cache/f54/bin"])
def test_a_program_that_will_not_stay_is_a_warning(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, home: Path, folder: str
) -> None:
    """uvx and pipx run start programs from a cache."""
    program = home / folder / "mcp-relay"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    code, _, said = run("--client", "zed", "--print", "a", URL)
    assert code == 0
    assert "will not stay" in said and str(program) in said


def test_uvx_starts_the_package_by_its_own_name_and_version(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """The package mcp-relay on PyPI is somebody else's: an entry must never make uvx install it."""
    monkeypatch.setenv("PATH", str(home))
    assert _entry(run, "--uvx", "-H", "X-A", "b", URL) == {
        "type": "stdio",
        "command": "uvx",
        "args": [f"mcp-frame-relay@{relay.__version__}", "-H", "X-A", "b", URL],
    }
    (home / "uvx").write_text("#!/bin/sh\n")
    (home / "uvx").chmod(0o755)
    assert _entry(run, "--uvx", URL)["command"] == str(home / "uvx")


STRANGER = "#!/usr/bin/python3\nimport sys\nfrom mcp_relay.cli import main\nsys.exit(main())\n"


def test_another_packages_program_of_our_name_is_a_warning_and_is_not_installed(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    stranger = home / "mcp-relay"
    stranger.write_text(STRANGER)
    stranger.chmod(0o755)
    monkeypatch.setenv("PATH", str(home))
    monkeypatch.setattr(sys, "argv", [str(stranger)])
    code, printed, said = run("--client", "zed", "--print", "a", URL)
    assert code == 0
    assert str(stranger) not in printed
    assert f"{stranger} belongs to another package" in said
    stranger.write_text(STRANGER.replace("mcp_relay.cli", "relay.cli"))
    assert "another package" not in run("--client", "zed", "--print", "a", URL)[2]


SPEAKS = """
import json, os, sys
for line in sys.stdin:
    said = {"token": os.environ.get("TOKEN"), "cwd": os.getcwd(), "other": os.environ.get("OF_THE_CLIENT")}
    print(json.dumps({"jsonrpc": "2.0", "id": json.loads(line)["id"], "result": said}), flush=True)
"""


def test_what_was_installed_works_when_a_client_starts_it(home: Path) -> None:
    """From another directory, with the short PATH that desktop programs have, and only the entry's variables."""
    words = ["--client", "claude-desktop", "--yes", "mine", "-e", "TOKEN", "t0ps3cret", "--cwd", str(home), "--"]
    installed = _program(home, *words, sys.executable, "-c", SPEAKS)
    assert installed.returncode == 0, installed.stderr
    file = home / ".config/Claude/claude_desktop_config.json"
    entry = json.loads(file.read_text())["mcpServers"]["mine"]
    request = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}\n'
    done = subprocess.run(
        [entry["command"], *entry["args"]],
        input=request,
        capture_output=True,
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), "OF_THE_CLIENT": "s3cret", **entry["env"]},
        timeout=20,
        check=False,
    )
    result = json.loads(done.stdout)["result"]
    assert result == {"token": "t0ps3cret", "cwd": str(home), "other": None}, done.stderr


@pytest.mark.parametrize("interpreter", ["node9", None])
def test_a_program_of_our_path_works_under_a_short_one(
    run: Callable[..., tuple[int, str, str]], home: Path, monkeypatch: pytest.MonkeyPatch, interpreter: str | None
) -> None:
    """It is written by its full path, and PATH beside it if ``env`` must find the interpreter of a script."""
    program, folder = home / "tools" / "npx9", home / "node"
    for one in (program.parent, folder):
        one.mkdir()
    program.write_text(f'#!{"/usr/bin/env " + interpreter if interpreter else "/bin/sh"}\necho "$1"\n')
    program.chmod(0o755)
    (folder / "node9").symlink_to("/bin/sh")
    monkeypatch.setenv("PATH", f"{program.parent}:{folder}:/usr/bin:/bin")
    _, printed, said = run("--client", "zed", "--print", "a", "--", "npx9", "hello")
    entry = json.loads(printed)["context_servers"]["a"]
    assert entry["args"][-2:] == [str(program), "hello"] and str(program) in said
    assert "--pass-variable" not in entry["args"], "PATH is handed on anyway"
    env = entry.get("env", {})
    assert env.get("PATH", "").split(":")[0] == (str(folder) if interpreter else "")
    done = subprocess.run(
        entry["args"][-2:], env={"PATH": "/usr/bin:/bin", **env}, capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout == "hello\n"


def test_a_program_that_is_found_anyway_keeps_its_name(run: Callable[..., tuple[int, str, str]]) -> None:
    """So does any other, if the entry says where to look."""
    _, printed, said = run("--client", "zed", "--print", "a", "-e", "PATH", "/bin:/usr/bin", "--", "sh")
    assert json.loads(printed)["context_servers"]["a"]["args"][-1] == "sh" and said == ""
    _, printed, said = run("--client", "zed", "--print", "a", "--", "sh")
    assert json.loads(printed)["context_servers"]["a"]["args"][-1] == "sh" and said == ""


def _program(home: Path, *words: str, **how: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "relay", "install", *words],
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        text=True,
        timeout=20,
        check=False,
        **{"stdin": subprocess.DEVNULL, "capture_output": True, **how},
    )


# How it is written.


def test_the_change_is_shown_and_only_the_entry_is_added(run: Callable[..., tuple[int, str, str]], home: Path) -> None:
    file = home / ".config/zed/settings.json"
    file.parent.mkdir(parents=True)
    file.write_text(ZED)
    file.chmod(0o640)
    code, shown, said = run("--client", "zed", "--yes", "-H", "Authorization", "Bearer t0ps3cret", "mine", URL)
    assert code == 0
    written = file.read_text()
    assert written.startswith(ZED[: ZED.index("    },\n}")].rstrip("\n"))
    assert written.endswith("    },\n}\n")
    assert list(read(written)["context_servers"]) == ["other", "mine"]
    assert [line for line in shown.splitlines() if line.startswith("-") and line != f"--- {file}"] == []
    assert '+        "mine": {' in shown
    assert "t0ps3cret" not in shown and "hunter22" not in shown and '"API_ACCESS_TOKEN": "***"' in shown
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    (backup,) = file.parent.glob("settings.json.backup-*")
    assert backup.read_text() == ZED
    assert stat.S_IMODE(backup.stat().st_mode) == 0o640
    assert str(backup) in said and "restart Zed" in said
    assert sorted(path.name for path in file.parent.iterdir()) == sorted([file.name, backup.name])


def test_a_second_time_there_is_nothing_to_do(run: Callable[..., tuple[int, str, str]], home: Path) -> None:
    words = ("--client", "cursor", "--yes", "mine", URL)
    assert run(*words)[0] == 0
    code, shown, said = run(*words)
    assert (code, shown) == (0, "")
    assert "already" in said
    assert [path.name for path in (home / ".cursor").iterdir()] == ["mcp.json"]
    assert stat.S_IMODE((home / ".cursor/mcp.json").stat().st_mode) == 0o600


def test_an_entry_of_that_name_is_shown_before_it_is_replaced(
    run: Callable[..., tuple[int, str, str]], home: Path
) -> None:
    file = home / ".cursor/mcp.json"
    file.parent.mkdir()
    file.write_text('{"mcpServers": {"mine": {"command": "old"}, "other": {}}}')
    code, shown, _ = run("--client", "cursor", "--yes", "mine", URL)
    assert code == 0
    assert '-{"mcpServers": {"mine": {"command": "old"}, "other": {}}}' in shown
    assert read(file.read_text())["mcpServers"]["mine"]["args"][-1] == URL
    assert file.read_text().endswith(', "other": {}}}')


def test_a_symlink_stays_one(run: Callable[..., tuple[int, str, str]], home: Path) -> None:
    (home / "dotfiles").mkdir()
    (home / "dotfiles/mcp.json").write_text("{}\n")
    (home / ".cursor").mkdir()
    (home / ".cursor/mcp.json").symlink_to("../dotfiles/mcp.json")
    assert run("--client", "cursor", "--yes", "mine", URL)[0] == 0
    assert (home / ".cursor/mcp.json").is_symlink()
    assert "mine" in read((home / "dotfiles/mcp.json").read_text())["mcpServers"]


def test_a_project_has_a_file_of_its_own(
    run: Callable[..., tuple[int, str, str]], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    assert run("--client", "vscode", "--project", "--yes", "mine", URL)[0] == 0
    assert "mine" in read((home / ".vscode/mcp.json").read_text())["servers"]
    code, _, said = run("--client", "windsurf", "--project", "--yes", "mine", URL)
    assert code == 2
    assert "Windsurf has no configuration for a project" in said


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("MCP_RELAY_FOO", "x", "MCP_RELAY_FOO is set, but there is no such variable"),
        ("MCP_RELAY_PORT", "x", "MCP_RELAY_PORT: 'x' is not a port"),
        ("MCP_RELAY_LOOP", "x", "MCP_RELAY_LOOP is 'x'"),
        ("MCP_RELAY_CONFIG", "/nowhere/x", "/nowhere/x: the file cannot be read"),
        ("MCP_RELAY_LOG_LEVEL", "debug", None),
    ],
)
def test_a_variable_with_which_the_entry_would_not_start(
    run: Callable[..., tuple[int, str, str]], name: str, value: str, fault: str | None
) -> None:
    code, printed, said = run("--client", "cursor", "--print", "mine", "-e", name, value, URL)
    if fault is None:
        assert (code, said) == (0, "") and json.loads(printed)["mcpServers"]["mine"]["env"] == {name: value}
    else:
        assert (code, printed) == (2, "")
        assert said.startswith(f"mcp-relay: -e: the entry would not start: {fault}") and said.count("\n") == 1


def test_what_changed_meanwhile_is_not_overwritten(home: Path) -> None:
    file = home / "file"
    file.write_text("newer")
    with pytest.raises(RelayError, match="changed by another program"):
        replace_file(str(file), b"mine", before=b"older", mode=0o600)
    assert file.read_text() == "newer"
    assert list(home.iterdir()) == [file]


def test_a_write_that_fails_leaves_the_file_and_no_scraps(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = home / "file"
    file.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RelayError, match="No space left on device; nothing was changed"):
        replace_file(str(file), b"new", before=b"old", mode=0o600)
    assert file.read_text() == "old"
    assert [path.name for path in home.iterdir() if not path.name.startswith("file")] == []


# Who is asked.


def test_without_a_terminal_and_without_yes_nothing_is_written(home: Path) -> None:
    done = _program(home, "--client", "cursor", "mine", URL)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "--yes" in done.stderr
    assert '+    "mine": {' in done.stdout
    assert not (home / ".cursor").exists()


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("\n", 1), ("n\n", 1), ("yes please\n", 1)])
def test_at_a_terminal_it_asks(home: Path, answer: str, code: int) -> None:
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer.encode())
        done = _program(home, "--client", "cursor", "mine", URL, stdin=theirs)
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == code, done.stderr
    assert "[y/N]" in done.stderr
    assert (home / ".cursor/mcp.json").exists() == (code == 0)


# Mistakes.


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mine", URL], "--client is missing: one of claude-desktop"),
        (["--client", "emacs", "mine", URL], "invalid choice: 'emacs'"),
        (["--client", "zed"], "a name for the server must come before it"),
        (["--client", "zed", URL], f"'{URL}' is no name for the server"),
        (["--client", "zed", "mine"], "no URL or command given"),
        (["--client", "zed", "mine", URL, "more"], "nothing may follow the URL, but 'more' does"),
        (["--client", "zed", "mine", "gopher://host"], "neither a command nor an address"),
        (["--client", "zed", "mine", "stdio:"], "name the server's URL"),
        (["--client", "zed", "mine", "--max-frame-bytes", "x", URL], "'x' is not a size"),
        (["--client", "zed", "mine", "-H", "Bad Name", "x", URL], "-H: 'Bad Name' is not a header name"),
        (["--client", "zed", "mine", "--", "serv\udcff"], "not UTF-8"),
    ],
)
def test_a_mistake_is_one_line(run: Callable[..., tuple[int, str, str]], words: list[str], said: str) -> None:
    code, shown, error = run("--yes", *words)
    error = "".join(line for line in error.splitlines(keepends=True) if " WARNING " not in line)
    assert (code, shown) == (2, "")
    assert error.count("\n") == 1
    assert said in error


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{\n  oops\n}", "line 2, column 3: expected a name in double quotes"),
        (b"[]", "the outermost value is not an object"),
        (b'{"mcpServers": []}', "'mcpServers' in it is not an object"),
        (b'{"a": "\xff"}', "is not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_left_alone(
    run: Callable[..., tuple[int, str, str]], home: Path, content: bytes, said: str
) -> None:
    file = home / ".cursor/mcp.json"
    file.parent.mkdir()
    file.write_bytes(content)
    code, shown, error = run("--client", "cursor", "--yes", "mine", URL)
    assert (code, shown) == (2, "")
    assert error.count("\n") == 1
    assert said in error and str(file) in error and "--print" in error
    assert file.read_bytes() == content


def test_an_unreadable_file_is_a_failure_that_names_it(
    run: Callable[..., tuple[int, str, str]], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> bytes:
        raise RelayError(f"cannot read {path}: Permission denied")

    monkeypatch.setattr(change, "read_if_there", refuse)
    code, _, error = run("--client", "cursor", "--yes", "mine", URL)
    assert code == 1
    assert f"cannot read {home / '.cursor/mcp.json'}: Permission denied" in error
