"""What is a secret, where secrets are found, and text without them.

names       the law: what is likely to be a secret, by its name or by its looks
values      the secrets of one server: in its variables, its headers and its address
arguments   the secrets among the arguments of a command
text        any text, with its secrets masked
display     servers and options as people may see them
"""
