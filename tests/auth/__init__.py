"""Tests of who is admitted, and of logins."""
