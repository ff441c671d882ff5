"""Measure the cost of an MCP bridge: mcp-relay, its peers, no bridge, and the least possible bridge.

Run ``python -m bench --help``. README.md here says how to read the figures and how to add a peer.

==============  ==================================================================================
cells           the table of cells, by path, frame size and calls in flight
bridges         the table of bridges, with their command lines
install         installs peers into ``.peers/`` by name and version, with their registries' clients
native/         C: load generators, far ends and the floor; ``programs`` compiles them
fallback/       the same in plain Python, for machines without a compiler
launch          starts a bridge and its far end, and stops all of it
processes       memory and CPU time of a process tree, from /proc
load            runs a load generator and reads its line of figures
measure         measures one group of cells on one started bridge
rounds          the order of a run: bridge A, B, C, then again
samples         the results, with medians and spread
report, plots   Markdown and pictures
==============  ==================================================================================
"""
