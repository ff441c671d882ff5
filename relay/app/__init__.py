"""From words and flags to a running relay: the only floor that names concrete endpoints."""
