"""The pure tables: each against a simple model."""
