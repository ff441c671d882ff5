"""Logins of clients, without a listener."""
