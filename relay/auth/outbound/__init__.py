"""How the relay logs in to a server.

credentials.py   what every way to a server asks for: headers now, or new ones after a refusal
tries.py         how often a request is sent again after a refusal, and how many requests may wait for a login
logins.py        HTTP Basic and Digest, and tokens for client credentials
"""
