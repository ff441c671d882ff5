"""Build the packages, install them as users do, and relay a call with each: ``python -m tests.packages``.

pip, pipx, uv and the steps of the container file, each in a fresh place: the relay that is started, and all its
modules, come from what was installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path

from dockerfile_parse import DockerfileParser

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[1]
SERVER = ROOT / "tests" / "e2e" / "stdio_server.py"
DIST = ROOT / "dist"
BIN = "Scripts" if sys.platform == "win32" else "bin"


def main() -> int:
    """Print a line for each way to install; 1 if one of them does not end in a program that works."""
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    # The wheel is built from the sdist: that has everything, too.
    _run([sys.executable, "-m", "build", "--quiet", "--outdir", str(DIST), str(ROOT)])
    (wheel,) = DIST.glob("*.whl")
    (sdist,) = DIST.glob("*.tar.gz")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tools = _environment(folder / "tools", "pipx", "uv")
        _check("pip, the wheel", _environment(folder / "wheel", str(wheel)) / "mcp-relay")
        _check("pip, the sdist", _environment(folder / "sdist", str(sdist)) / "mcp-relay")
        pipx = {"PIPX_HOME": str(folder / "pipx"), "PIPX_BIN_DIR": str(folder / "pipx-bin")}
        _run([str(tools / "pipx"), "install", "--quiet", "--python", sys.executable, str(wheel)], pipx)
        _check("pipx", folder / "pipx-bin" / "mcp-relay")
        uv = {"UV_TOOL_DIR": str(folder / "uv"), "UV_TOOL_BIN_DIR": str(folder / "uv-bin")}
        _run([str(tools / "uv"), "tool", "install", "--quiet", "--python", sys.executable, str(wheel)], uv)
        _check("uv tool", folder / "uv-bin" / "mcp-relay")
        # As people start a package without installing it: the program has the package's name.
        at_once = ["--quiet", "--python", sys.executable, "--from", str(wheel), "mcp-frame-relay"]
        _check("uvx", str(tools / "uvx"), *at_once, environment=uv)
        _check("pipx run", str(tools / "pipx"), "run", "--spec", str(wheel), "mcp-frame-relay", environment=pipx)
        _check("container file", _container(folder) / "mcp-relay")
    return 0


def _container(folder: Path) -> Path:
    """Do what the container file does to build, below a folder; return where the program is then."""
    source, programs = folder / "src", folder / "usr" / "local" / "bin"
    source.mkdir()
    programs.mkdir(parents=True)
    for step in DockerfileParser(str(ROOT / "deploy")).structure:
        words = step["value"].split()
        if step["instruction"] == "COPY" and not words[0].startswith("--"):
            for name in words[:-1]:
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                copy(ROOT / name, source / name)
        elif step["instruction"] == "RUN" and "node" not in step["value"] and "apt-get" not in step["value"]:
            line = step["value"].replace("/opt/", f"{folder}/opt/").replace("/usr/local/bin", str(programs))
            _run(["sh", "-c", line.replace("python -m venv", f"{sys.executable} -m venv")], at=source)
    _run([str(programs / "uvx"), "--version"])
    return programs


def _environment(folder: Path, *requirements: str) -> Path:
    """Make a virtual environment with these in it; return where its programs are."""
    venv.create(folder, with_pip=True, symlinks=sys.platform != "win32")
    _run([str(folder / BIN / "python"), "-m", "pip", "install", "--quiet", *requirements])
    return folder / BIN


def _check(how: str, *program: Path | str, environment: Mapping[str, str] | None = None) -> None:
    """Use a program that was installed: its version, and a call through it by HTTP."""
    argv = [str(word) for word in program]
    version = _run([*argv, "--version"], environment).strip()
    relay = subprocess.Popen(
        [*argv, "--", sys.executable, str(SERVER)],
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert relay.stderr is not None
    try:
        url = relay.stderr.readline().split("listening on ")[1].split()[0]
        report = _run([*argv, "test", url], environment)
        assert report.startswith("ok "), report
    finally:
        relay.terminate()
        relay.wait(15)
        relay.stderr.close()
    sys.stdout.write(f"{how:15} {version}: {report.splitlines()[2]}\n")
    sys.stdout.flush()


def _run(argv: Sequence[str], environment: Mapping[str, str] | None = None, at: Path | None = None) -> str:
    """Run a program away from the source, without the variables that would let it find that."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        argv,
        env={**clean, **(environment or {})},
        cwd=at or DIST,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(argv)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
