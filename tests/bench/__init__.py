"""The benchmark harness: its arithmetic, its report, and that it refuses wrong answers."""
