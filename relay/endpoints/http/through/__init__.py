"""Forward each HTTP request unchanged, from a client's connection to a server's."""
