"""Install peers into ``.peers/``, each into its own folder, by name and version.

It uses only the registries' ordinary clients: pip, npm, cargo, go. If a peer fails to install, its rows say so, and the
run continues.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.places import PEERS, without_folders

INSTALL_SECONDS = 1200.0  # a Rust peer compiles two hundred crates, on a small machine


class InstallationFailed(Exception):
    """A peer could not be installed; the text says why in a line."""


class Installation(Protocol):
    """What to install, and with what."""

    @property
    def label(self) -> str:
        """Name, version and registry, for the report."""

    def install(self, home: Path) -> None:
        """Install into `home`; raises InstallationFailed."""


def _run(words: list[str], *, folder: Path, environment: dict[str, str] | None = None) -> None:
    program = shutil.which(words[0])
    if not program:
        raise InstallationFailed(f"{words[0]} was not found on this machine")
    try:
        subprocess.run(
            [program, *words[1:]],
            cwd=folder,
            env={**os.environ, **(environment or {})},
            check=True,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise InstallationFailed(f"{words[0]} took longer than {INSTALL_SECONDS:.0f} s") from None
    except subprocess.CalledProcessError as problem:
        lines = [line.strip() for line in problem.stderr.splitlines() if line.strip()]
        raise InstallationFailed(f"{words[0]} failed: {without_folders(' / '.join(lines[-2:]))[:300]}") from None


@dataclass(frozen=True, slots=True)
class PyPI:
    """A package of the Python Package Index, in a virtual environment."""

    package: str
    version: str

    @property
    def label(self) -> str:
        """Name, version and registry."""
        return f"{self.package} {self.version} (PyPI)"

    def install(self, home: Path) -> None:
        """Make the environment and install into it."""
        _run([sys.executable, "-m", "venv", "."], folder=home)
        _run([str(home / "bin" / "pip"), "install", "--quiet", f"{self.package}=={self.version}"], folder=home)


@dataclass(frozen=True, slots=True)
class Npm:
    """A package of the npm registry."""

    package: str
    version: str

    @property
    def label(self) -> str:
        """Name, version and registry."""
        return f"{self.package} {self.version} (npm)"

    def install(self, home: Path) -> None:
        """Install into a prefix of its own."""
        words = ["npm", "install", "--no-audit", "--no-fund", "--prefix", ".", f"{self.package}@{self.version}"]
        _run(words, folder=home)


@dataclass(frozen=True, slots=True)
class Cargo:
    """A program among the crates of crates.io."""

    crate: str
    version: str
    features: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Name, version and registry."""
        return f"{self.crate} {self.version} (crates.io)"

    def install(self, home: Path) -> None:
        """Compile it with the dependencies it was released with."""
        words = ["cargo", "install", "--locked", "--root", ".", *self.features, f"{self.crate}@{self.version}"]
        _run(words, folder=home)


@dataclass(frozen=True, slots=True)
class Go:
    """A program that is the root package of a Go module."""

    module: str
    version: str

    @property
    def label(self) -> str:
        """Name, version and registry."""
        return f"{self.module} {self.version} (Go module)"

    def install(self, home: Path) -> None:
        """Compile it as the dependency of an empty module.

        Not `go install module@version`: that asks the module proxy for a list of all versions too,
        which not every proxy gives.
        """
        (home / "go.mod").write_text(f"module bench.invalid/peer\n\ngo 1.24\n\nrequire {self.module} {self.version}\n")
        target = f"bin/{self.module.rpartition('/')[2]}"
        _run(["go", "build", "-o", target, self.module], folder=home, environment={"GOFLAGS": "-mod=mod"})


def home_of(name: str) -> Path:
    """Return the folder that the bridge `name` is installed in."""
    return PEERS / name


def is_installed(name: str, installation: Installation) -> bool:
    """Tell whether this very version is there."""
    marker = home_of(name) / "installed"
    return marker.is_file() and marker.read_text() == installation.label


def install(name: str, installation: Installation) -> None:
    """Install the bridge `name` afresh; raises InstallationFailed."""
    home = home_of(name)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    installation.install(home)
    (home / "installed").write_text(installation.label)
