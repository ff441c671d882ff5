"""What the relay tells its operator, without any secret in it."""
