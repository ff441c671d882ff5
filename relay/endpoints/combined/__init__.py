"""Endpoints made of endpoints: one server for many clients, or many servers for one client."""
