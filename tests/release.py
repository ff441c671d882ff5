"""Prepare a release in dist/: ``python -m tests.release VERSION``.

It checks that version and changelog agree. It builds the packages, runs `twine check`, installs the wheel in a clean
environment and starts it. Beside the packages it leaves an SBOM of that environment (CycloneDX) and the notes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

__all__ = ["main", "notes_of"]

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
BIN = "Scripts" if sys.platform == "win32" else "bin"


def main(words: list[str]) -> int:
    """Make the files; 1 with a line that says what is wrong."""
    if len(words) != 1:
        print("make release VERSION=X.Y.Z", file=sys.stderr)
        return 2
    version = words[0]
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    if version != declared:
        print(f"release: pyproject.toml says version {declared}, not {version}", file=sys.stderr)
        return 1
    notes = notes_of((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    if notes is None:
        print(f"release: CHANGELOG.md has no section '## [{version}] - DATE' with changes", file=sys.stderr)
        return 1
    shutil.rmtree(DIST, ignore_errors=True)
    _run(sys.executable, "-m", "build", "--quiet", "--outdir", str(DIST), str(ROOT))
    packages = sorted(str(file) for file in DIST.iterdir())
    _run(sys.executable, "-m", "twine", "check", "--strict", *packages)
    _try(next(DIST.glob("*.whl")), version)
    (DIST / "notes.md").write_text(notes, encoding="utf-8")
    for file in sorted(DIST.iterdir()):
        print(file.relative_to(ROOT))
    return 0


def notes_of(changelog: str, version: str) -> str | None:
    """Return what the changelog says of a version, or None if it says nothing."""
    pattern = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)"
    found = re.search(pattern, changelog, re.MULTILINE | re.DOTALL)
    return found[1].strip() + "\n" if found and found[1].strip() else None


def _try(wheel: Path, version: str) -> None:
    """Install the wheel in a clean environment, start the program, and write the SBOM of that environment."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder, with_pip=True, symlinks=sys.platform != "win32")
        python = str(folder / BIN / "python")
        _run(python, "-m", "pip", "install", "--quiet", str(wheel))
        said = _run(str(folder / BIN / "mcp-relay"), "--version")
        if said.strip() != f"mcp-relay {version}":
            raise SystemExit(f"release: the installed program says {said.strip()!r}, not version {version}")
        bill = DIST / f"mcp-frame-relay-{version}.cdx.json"
        _run(sys.executable, "-m", "cyclonedx_py", "environment", python, "--output-file", str(bill))


def _run(*argv: str) -> str:
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(argv)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
