"""Who may speak: the checks a listener makes before it looks at a request.

origin.py   Host and Origin of requests, and CORS: the defence against web pages and DNS rebinding
"""
