"""A child process as an endpoint, and what starts, restarts and ends it."""
