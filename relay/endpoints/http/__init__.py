"""HTTP: ``server`` listens, ``client`` dials, ``through`` hands requests on from one to the other."""
