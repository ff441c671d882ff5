"""HTTP: ``server`` listens, ``client`` dials, ``through`` forwards requests from one to the other."""
