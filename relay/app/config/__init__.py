"""Configuration files: servers that editors and other bridges name, and our own options.

    json_lines    JSON with the line of every key
    document      a file read, whatever its format, and its tables with mistakes that name file, line and key
    toml          TOML, with the line of a key
    yaml          YAML, with the line of every key, if PyYAML is installed
    expansion     ``${VAR}`` in a value
    secret_words  which words of a command are secret
    entries       one server of a file → NamedServer; beside it:
                  entry_words      what its keys are called, by editor
                  entry_reader     its keys read, its mistakes noted
                  entry_values     the forms that values have
                  entry_variables  variables and headers
    places        where each client's file has its servers
    servers_file  a file of any editor's → its servers
    values        what a file or a variable says of an option
    layers        flags, variables, a file, defaults → options
    masking       servers and options without their secrets
    explain       what a file would run, and what is wrong with it
    schema        JSON Schemas of both kinds of files
    command       ``mcp-relay config``

Nothing here is loaded before a configuration is asked for.
"""
