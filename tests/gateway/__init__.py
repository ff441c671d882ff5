"""The gateway for web pages: ``/proxy``, ``/ws``, and the guard beneath them."""
