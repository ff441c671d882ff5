"""``mcp-relay test``: look at a server as a client would, and report what is there.

cli        the arguments, and the exit code
settings   what one run was asked to do
steps      the questions, in their order
server     connections to the server, what they cost, and why they fail
client     one request at a time, and its answer
port       what a silent TCP port speaks
output     what a command writes beside the protocol
advice     from a failure to what a person can do about it
report     what was found, as lines or as JSON
"""
