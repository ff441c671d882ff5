"""The official conformance runner, direct and through the relay: what passes direct must pass relayed.

servers/      one everything-server per SDK, with what the runner's scenarios ask for (offer.json is common to all)
clients/      one client per SDK, with what the runner's client scenarios ask for
columns.py    what is run: server, era and way (direct, or through which kind of relay)
runner.py     run the runner, read the checks it writes
verdicts.py   pure: checks become verdicts, two verdicts a comparison
table.py      pure: comparisons become the printed table
inspector.py  the Inspector's --cli, direct and through the relay
processes.py  start the servers and relays, wait for their address, end them
__main__.py   the command line; exit code 1 if anything is lost on the way
"""
