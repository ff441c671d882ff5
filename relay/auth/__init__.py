"""Who may speak, and as whom: the checks a listener makes, and the logins of who dials.

origin.py     Host and Origin of requests, and CORS: the defence against web pages and DNS rebinding
outbound.py   logins to a server: HTTP Basic and Digest, tokens for client credentials
"""
