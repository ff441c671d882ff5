"""Each endpoint, against a peer that says exactly what a test wants."""
