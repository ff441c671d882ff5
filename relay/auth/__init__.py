"""Which requests a listener admits, and how the relay logs in to a server.

origin.py     Host and Origin of requests, and CORS: the defence against web pages and DNS rebinding
outbound/    how the relay logs in to a server
"""
