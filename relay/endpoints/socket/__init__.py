"""TCP and Unix sockets, dialled and listened on: frames are lines."""
