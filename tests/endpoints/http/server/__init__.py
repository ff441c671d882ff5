"""Tests of the endpoints, each with a peer that sends exactly what a test wants."""
