"""Log in to a server by OAuth: all that does I/O. ``relay.auth.outbound.oauth`` decides, this package acts.

logins.py        the logins of all servers that the relay dials; nothing else is loaded before a server wants one
directory.py     where logins are kept
credentials.py   what a transport holds: the headers of now, without an import; the rest is loaded after a refusal
renewal.py       one renewal at a time: a refresh, else a login
refresh.py       refresh a login, once for all tasks and processes
login.py         a login by a person in a browser: one window for all processes
device.py        a login by a person on another device (RFC 8628)
machine.py       a login without a person: client credentials, and signed assertions (RFC 7523)
search.py        find the authorization server, and the client that the relay is there
callback.py      the page on this machine to which the browser returns
browser.py       open the person's browser
web.py           requests to authorization servers: no redirects, no cookies, bounded
store.py         logins on disk, and the locks between processes
stores.py        the kinds of stores; keyring_store.py: that of the operating system
files.py         private files
account.py       what every step knows
accounts.py      what the commands do: log in, list, log out, import
"""
