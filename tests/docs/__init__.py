"""The documents are true: their commands parse, their programs run, their links lead somewhere.

blocks.py       the fenced blocks of every page, and the marks that say why one is not run
public_api.py   the signatures of the public Python API, as public_api.txt records them
"""
