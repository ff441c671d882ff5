"""Who may use a listener: logins of clients.

verdicts.py       the outcome of a login, as values: a principal, a challenge, or a question that takes time
presented.py      which token a request carries
tokens.py         static tokens, each with the name of its principal
token_sources.py  the variables and files that hold them
jwt.py            tokens that an authorization server has signed (extra ``jwt``)
issuer_keys.py    the keys with which it signs
introspection.py  tokens about which an authorization server is asked
claims.py         what such a token must say
recent.py         tokens that were good a moment ago
certificates.py   clients that have shown a certificate instead
metadata.py       where clients get tokens (RFC 9728)
challenges.py     how the challenge reads in WWW-Authenticate
failures.py       how many failed logins an address may have
login.py          all of these as one, which the gate of every HTTP listener asks
web.py            how an authorization server is reached: by what the package is given
"""
