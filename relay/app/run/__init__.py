"""From settings to a running relay: the only room that names concrete endpoints."""
