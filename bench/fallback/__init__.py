"""Load generators and far ends in plain Python, for machines without a compiler.

They have the command lines of the programs in native/, but cost about as much as a fast bridge.
"""
