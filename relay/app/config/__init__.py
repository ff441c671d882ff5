"""Configuration files: servers that editors and other bridges name, and the relay's own options.

    json_lines      JSON, with the line of every key
    jsonc           JSON with comments, and where in the text each value stands
    toml, yaml      the same for TOML and YAML
    document        a file in any format, and its tables; every mistake names file, line and key
    expansion       ``${VAR}`` in a value
    entries         one server of a file → NamedServer; beside it:
                    entry_keys       the names of its keys, by editor
                    entry_reader     reads its keys and notes its mistakes
                    entry_values     the forms of its values
                    entry_variables  its variables and headers
    places          where each client's file holds its servers
    servers_file    any editor's file → its servers
    servers_source  where servers with names come from, and whether they changed
    values          a value of a file or a variable → the value of an option
    layers          arguments, variables, a file, defaults → options
    schema          JSON Schemas of both kinds of files

A relay without a configuration loads none of it.
"""
