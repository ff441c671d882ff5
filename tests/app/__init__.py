"""Tests of the program, from its command line to a running relay, inside the test's process."""
