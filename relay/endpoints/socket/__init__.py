"""TCP and Unix sockets, dialled and listened on; each line is one frame."""
