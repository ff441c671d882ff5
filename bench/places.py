"""The paths of the benchmark, and how to print them without a folder of this machine."""

import re
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
NATIVE = BENCH / "native"
FALLBACK = BENCH / "fallback"
BUILD = BENCH / ".build"
PEERS = BENCH / ".peers"
RESULTS = BENCH / "results"

_FOLDER = re.compile(r"(?<![\w:/.*])/(?:[\w.@+-]+/)+")


def without_folders(text: str) -> str:
    """Return `text` fit for a report: this folder as `.`, our interpreter as `python`, no other path."""
    text = text.replace(sys.executable, "python").replace(f"{ROOT}/", "./")
    return _FOLDER.sub(".../", text)
