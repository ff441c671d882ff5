"""The command lines of other bridges, given to ``mcp-relay as NAME``: every example of their READMEs.

examples.py       the table: a line of a README, and what it must do
machine.py        what the lines need around them: the programs they start, the servers at their URLs
talk.py           one client for each transport: a handshake and a call
test_examples.py  runs the table
test_words.py     what the tables of options make of words, without running anything
"""
