"""Start a module of this package by its name: ``python bench/fallback/run.py far_stdio``.

A bridge starts its child in its own environment and folder, so this file finds the package from its own path.
"""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    runpy.run_module(f"bench.fallback.{sys.argv.pop(1)}", run_name="__main__")
