"""Who may use a listener: logins of clients.

verdicts.py   the outcome of a login, as values: a principal or a challenge
presented.py  which token a request carries
tokens.py     static tokens, each with the name of its principal
token_sources.py  the variables and files that hold them
challenges.py how the challenge reads in WWW-Authenticate
failures.py   how many failed logins an address may have
login.py      all of these as one, which the gate of every HTTP listener asks
"""
