"""End-to-end tests: the real program, real sockets, real children."""
