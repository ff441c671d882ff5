"""Tables that match answers with requests. No I/O, no clock (callers pass the time), no asyncio.

exchanges.py   request id → the exchange that waits for its answer
renaming.py    ids of the relay's own for requests of many clients, and whose they are
event_log.py   one SSE stream's events, kept for a client that comes back, within bounds
routing/schedule.py        which of several servers is next, and which are left out
sessions.py    session id → session, with a cap and an idle clock
"""
