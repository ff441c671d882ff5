"""How `make docs` builds the site: reference pages from the parser, and the repository's other pages beside docs/.

site.py        the hooks of mkdocs
addresses.py   where a file of the repository is in the site
reference.py   options, keys and subcommands as Markdown, from the parsers and the schemas
"""
