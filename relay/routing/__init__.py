"""Tables that match answers with requests. No I/O, no clock (callers pass the time), no asyncio.

ledger.py      the open requests, each with one life and one outcome
matching.py    answers whose id the server wrote differently from the client
renaming.py    the relay's own ids for the requests of many clients
event_log.py   one SSE stream's events, kept within bounds for a client that resumes
schedule.py    the next of several servers, and the ejected servers
circuit.py     whether a server that keeps ending may start again
sessions.py    session id → session, with a cap and an idle clock
"""
