"""Bytes to frames and back: laws that need no I/O."""
