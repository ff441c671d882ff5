"""The relay's own stdin and stdout."""
