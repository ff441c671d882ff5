"""Start a module of this package by its name: ``python bench/fallback/run.py far_stdio``.

Bridges start their child in an environment and a folder of their own, so the way to the package is
taken from here.
"""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    runpy.run_module(f"bench.fallback.{sys.argv.pop(1)}", run_name="__main__")
