"""The tests: codecs and tables alone, endpoints by one shared suite, then real peers end to end."""
