"""Measure what an MCP bridge costs: ours, its peers, no bridge, and the least a bridge could be.

Run ``python -m bench --help``. How to read the figures and how to add a peer: README.md here.

==============  ==================================================================================
cells           what is measured: the table of cells, by path, frame size and calls in flight
bridges         who is measured: a table entry for each bridge, with its command lines
install         puts peers into ``.peers/`` by name and version, through their registries' clients
native/         C: load generators, far ends and the floor; ``programs`` compiles them
fallback/       the same in plain Python, for machines without a compiler
launch          starts a bridge and its far end, and stops all of it
processes       memory and CPU time of a process tree, from /proc
load            runs a load generator and reads its line of figures
measure         one group of cells on one started bridge
rounds          the order of it all: bridge A, B, C, then again
samples         what came out; medians and spread
report, plots   Markdown and pictures
==============  ==================================================================================
"""
