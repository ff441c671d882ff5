"""JSON Schemas for editors: of a file of servers, and of the relay's own configuration.

The schema of the configuration comes from the parser's actions, so it knows every option. The package holds a copy.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from relay.app.config.entry_keys import COMMAND_KEYS, NOT_SUPPORTED, OF_EDITORS, OTHER_NAMES, URL_KEYS
from relay.app.config.layers import variable_of
from relay.app.config.values import is_flag, is_pairs, is_several, options_of
from relay.app.header_names import HEADERS_REFUSED
from relay.app.specs import ADDRESSES

__all__ = ["relay_schema", "servers_schema"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_ARRAY = {"type": "array"}
_WORD = {"type": ["string", "number", "boolean"]}
_WORDS = {"type": "array", "items": _WORD}
_TRUTH = {"anyOf": [{"type": "boolean"}, {"enum": ["true", "false", "True", "False"]}]}
_TRANSPORTS = (
    "stdio", "http", "sse", "streamable-http", "auto", "streamableHttp", "streamable_http", "streamablehttp",
    "streamable", "http-stream", "local", "remote", "url", "ws", "websocket", "builtin", "platform", "frontend",
    "inMemory",
)  # fmt: skip


def servers_schema() -> dict[str, Any]:
    """Return the schema of a file of servers."""
    servers = {"$ref": "#/$defs/servers"}
    some = [{"required": [key]} for key in (*COMMAND_KEYS, *URL_KEYS)]
    return {
        "$schema": _DIALECT,
        "title": "Servers for mcp-relay, as editors and other bridges name them",
        "type": "object",
        "anyOf": [
            {"required": ["mcpServers"]},
            {"required": ["servers"]},
            {"required": ["context_servers"]},
            {"required": ["mcp_servers"]},
            {"required": ["mcp"], "properties": {"mcp": {"anyOf": [{"required": ["servers"]}, servers]}}},
            {"required": ["amp.mcpServers"]},
            {"required": ["extensions"]},
            {"required": ["projects"]},
            {"minProperties": 1, "additionalProperties": {"allOf": [{"$ref": "#/$defs/server"}], "anyOf": some}},
        ],
        "properties": {
            "mcpServers": {"if": _ARRAY, "then": {"items": {"$ref": "#/$defs/listed"}}, "else": servers},
            "servers": servers,
            "context_servers": servers,
            "mcp_servers": servers,
            "amp.mcpServers": servers,
            "mcp": {"properties": {"servers": servers}},
        },
        "$defs": _definitions(),
    }


def relay_schema(parser: argparse.ArgumentParser, sections: Mapping[str, argparse.ArgumentParser]) -> dict[str, Any]:
    """Return the schema of our own configuration: the options of ``parser``, and a table for each of ``sections``."""
    definitions = _definitions()
    definitions["server"]["additionalProperties"] = False
    return {
        "$schema": _DIALECT,
        "title": "Configuration of mcp-relay",
        "type": "object",
        "properties": {
            "$schema": _TEXT,
            "command": {**_TEXT, "description": "the program to start"},
            "args": {**_TEXTS, "description": "its arguments"},
            "url": {**_TEXT, "description": "the address of a server, instead of a command"},
            "servers": {"$ref": "#/$defs/servers"},
            **_options(parser, has_variables=True),
            **{
                section: {"type": "object", "properties": _options(its_parser), "additionalProperties": False}
                for section, its_parser in sections.items()
            },
        },
        "additionalProperties": False,
        "not": {"required": ["command", "url"]},
        "dependentRequired": {"args": ["command"]},
        "$defs": definitions,
    }


# Options.


def _options(parser: argparse.ArgumentParser, *, has_variables: bool = False) -> dict[str, Any]:
    found = {}
    for key, action in options_of(parser).items():
        said = (action.help or "").replace("%%", "%")
        if has_variables:
            said += f" ({variable_of(key)})"
        found[key] = {**_type_of(action), **({"description": said.strip()} if said else {})}
    return found


def _type_of(action: argparse.Action) -> dict[str, Any]:
    if is_flag(action):
        return {"type": "boolean"}
    if is_pairs(action):
        return {"type": "object", "additionalProperties": _TEXT}
    one: dict[str, Any] = _TEXT if action.type is None else {"type": ["string", "number"]}
    if action.choices is not None:
        spellings = [spelling for choice in action.choices for spelling in (str(choice), str(choice).lower())]
        one = {"enum": list(dict.fromkeys(spellings if action.type is not None else map(str, action.choices)))}
    if is_several(action):
        return {"anyOf": [one, {"type": "array", "items": one}]}
    if isinstance(action.nargs, int):
        return {"type": "array", "items": one, "minItems": action.nargs, "maxItems": action.nargs}
    return {"anyOf": [one, {"type": "boolean"}]} if action.nargs == "?" else one


# Servers.


def _definitions() -> dict[str, Any]:
    return {
        "servers": {
            "type": "object",
            "propertyNames": {
                "minLength": 1,
                "maxLength": 128,
                "not": {"anyOf": [{"enum": [".", ".."]}, {"pattern": r"[\u0000-\u001f\u007f-\u009f\u2028\u2029]"}]},
            },
            "additionalProperties": {"$ref": "#/$defs/server"},
        },
        "server": _server(),
        "listed": {"required": ["name"], "allOf": [{"$ref": "#/$defs/server"}]},
        "url": {**_TEXT, "pattern": r"^(?:" + "|".join(_any_case(one) for one in _URLS) + r")|\$\{"},
        "transport": {"enum": list(_TRANSPORTS)},
    }


_URLS = tuple(one for one in ADDRESSES if one != "stdio:")


def _server() -> dict[str, Any]:
    url, transport = {"$ref": "#/$defs/url"}, {"$ref": "#/$defs/transport"}
    ours: dict[str, dict[str, Any]] = {
        "command": {
            "description": "the program to start",
            "anyOf": [
                _TEXT,
                {"type": "array", "items": _WORD, "minItems": 1},
                {"type": "object", "properties": {"path": _TEXT, "args": _WORDS, "env": _env()}},
            ],
        },
        "args": {**_WORDS, "description": "its arguments"},
        "env": {**_env(), "description": "variables for it; ${VAR} is one of the relay's own"},
        "cwd": {**_TEXT, "description": "its working directory"},
        "url": {**url, "description": "the address of a server, instead of a command"},
        "headers": {**_headers(), "description": "headers for every request to the url"},
        "transport": {**transport, "description": "what the server speaks; found out by default"},
        "timeout": {
            "description": "seconds that an answer may take; 0: for ever",
            "anyOf": [{"type": "number", "minimum": 0}, {**_TEXT, "pattern": r"^[0-9]+(?:\.[0-9]+)? ?(?:ms|s|m)?$"}],
        },
        "enabled": {**_TRUTH, "description": "false leaves it out"},
        "disabled": {**_TRUTH, "description": "true leaves it out"},
    }
    others: dict[str, Any] = {
        other: {name: value for name, value in ours[meaning].items() if name != "description"}
        for other, meaning in OTHER_NAMES.items()
    }
    others |= {
        "options": {"type": "object", "properties": {"disabled": _TRUTH}},
        **dict.fromkeys(("env_vars", "env_keys"), {"description": "variables of the relay's own that it gets, too"}),
        "bearer_token_env_var": {**_TEXT, "description": "a variable of the relay's own: the token that is sent"},
        "bearer_token": _TEXT,
        "env_http_headers": {
            **_headers(),
            "description": "headers, each with the name of a variable of the relay",
        },
        "requestOptions": {"type": "object", "properties": {"headers": _headers()}},
        "customUserVars": True,
    }
    unread = dict.fromkeys((*OF_EDITORS, *(key for key in NOT_SUPPORTED if key not in others)), True)
    return {
        "type": "object",
        "properties": {**ours, **others, **unread},
        "if": {"not": {"anyOf": [{"required": [key]} for key in ("transport", *_names_of("transport"))]}},
        "then": {
            "not": {
                "required": ["command"],
                "properties": {"command": {"not": {"const": ""}}},
                "anyOf": [{"required": [key]} for key in URL_KEYS],
            }
        },
    }


def _names_of(meaning: str) -> list[str]:
    return [other for other, ours in OTHER_NAMES.items() if ours == meaning]


def _env() -> dict[str, Any]:
    values = {
        "type": "object",
        "propertyNames": {"minLength": 1, "not": {"pattern": r"[=\u0000]"}},
        "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
    }
    return {"if": _ARRAY, "then": _listed(r"^[^=\u0000]+="), "else": values}


def _headers() -> dict[str, Any]:
    refused = "^(?:" + "|".join(map(_any_case, HEADERS_REFUSED)) + ")$"
    values = {
        "type": "object",
        "propertyNames": {
            "minLength": 1,
            "not": {"anyOf": [{"pattern": r"[^A-Za-z0-9!#$%&'*+.^_`|~-]"}, {"pattern": refused}]},
        },
        "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
    }
    return {"if": _ARRAY, "then": _listed(r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+:"), "else": values}


def _listed(pattern: str) -> dict[str, Any]:
    """Return a list of texts of this pattern, or of objects of name and value."""
    named = {"type": "object", "required": ["name"], "properties": {"name": _TEXT, "value": _WORD}}
    return {"items": {"anyOf": [{**_TEXT, "pattern": pattern}, named]}}


def _any_case(text: str) -> str:
    """Return a pattern for a text in any case: JSON Schema's patterns have no flag for that."""
    return "".join(f"[{c.upper()}{c}]" if c.isalpha() else c.replace("/", r"\/") for c in text)
