"""The options of the command line, and the checks of their values."""
