"""What the OAuth client decides: pure functions on headers, documents, URLs and forms, and the values they make.

challenge.py       WWW-Authenticate, and the Bearer challenge in it (RFC 9110, RFC 6750)
urls.py            which URLs may be used, the canonical form of a server's URL, and which resource covers which server
discovery.py       where the metadata of a server and of its authorization server are, and what is wrong with them
registration.py    which client the relay is there: configured, a metadata document, or registered (RFC 7591)
scopes.py          which scopes to ask for, at first and after a 403
authorization.py   the authorization request with PKCE and state, and the checks of its response (RFC 7636, RFC 9207)
tokens.py          token requests and their answers
records.py         what is kept on disk: logins, registrations, an open window
options.py         what the operator decides

The half that does I/O is ``relay.endpoints.http.client.oauth``.
"""
