"""Tests of the benchmark: its arithmetic, its report, and that it rejects wrong answers."""
