"""From words and flags to a running relay, seen from inside the process."""
