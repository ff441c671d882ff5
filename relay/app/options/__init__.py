"""The options of the command line, and what is checked of their values."""
