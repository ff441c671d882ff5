"""Hand an HTTP request on as it comes, from a client's connection to a server's."""
