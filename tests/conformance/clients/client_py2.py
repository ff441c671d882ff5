"""A client for the conformance runner on the Python SDK 2.x, both eras; scenarios.mjs says what it does in JavaScript.

The runner names the scenario and the revision in the environment and the server in the last argument.
"""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import mcp_types as types
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters

SCENARIO = os.environ["MCP_CONFORMANCE_SCENARIO"]
IS_MODERN = os.environ["MCP_CONFORMANCE_PROTOCOL_VERSION"] >= "2026-07-28"
RELAY: list[str] | None = json.loads(os.environ.get("RELAY_COMMAND", "null"))
CALLS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "tools_call": [("add_numbers", {"a": 5, "b": 3})],
    "elicitation-sep1034-client-defaults": [("test_client_elicitation_defaults", {})],
    "sse-retry": [("test_reconnection", {})],
    "sep-2322-client-request-state": [
        ("test_mrtr_echo_state", {}),
        ("test_mrtr_unrelated", {}),
        ("test_mrtr_no_state", {}),
        ("test_mrtr_no_result_type", {}),
    ],
}
MAY_FAIL = {"test_mrtr_no_result_type"}  # an SDK may refuse this answer: what counts is that the call is not repeated
INVENTED: dict[str, Any] = {"boolean": True, "string": "x", "number": 1, "integer": 1}


async def accept(context: Any, params: Any) -> Any:
    """Accept an elicitation with the defaults it names, and with something that fits where it names none."""
    properties = params.requested_schema["properties"].items()
    content = {name: one.get("default", INVENTED.get(one.get("type"))) for name, one in properties}
    return types.ElicitResult(action="accept", content=content)


async def sample(context: Any, params: Any) -> Any:
    """Answer for the model; being there is what declares the capability."""
    return types.CreateMessageResult(role="assistant", content=types.TextContent(text="x"), model="none")


async def list_roots(context: Any) -> Any:
    """Name no roots; being there is what declares the capability."""
    return types.ListRootsResult(roots=[])


def calls_for(tools: list[Any]) -> list[tuple[str, dict[str, Any]]]:
    """Choose the calls that the scenario asks for."""
    if SCENARIO == "http-custom-headers":
        context = json.loads(os.environ["MCP_CONFORMANCE_CONTEXT"])
        return [(one["name"], one["arguments"]) for one in context["toolCalls"]]
    if SCENARIO == "http-standard-headers":
        return [(one.name, {}) for one in tools]
    if SCENARIO == "http-invalid-tool-headers":
        return [(one.name, {"region": "north"}) for one in tools]
    if SCENARIO == "json-schema-2020-12-preservation":
        [schema] = [one.input_schema for one in tools if one.name == "json_schema_2020_12_tool"]
        return [("json_schema_echo", {"schema": schema})]
    return CALLS.get(SCENARIO, [])


async def run(url: str) -> None:
    """Connect, directly or through a relay, and do what the scenario asks for."""
    server: Any = url
    if RELAY is not None:
        server = StdioServerParameters(command=RELAY[0], args=[*RELAY[1:], url], env=dict(os.environ))
    callbacks = {"elicitation_callback": accept, "sampling_callback": sample, "list_roots_callback": list_roots}
    async with Client(server, mode="auto" if IS_MODERN else "legacy", **callbacks) as client:
        for name, given in calls_for((await client.list_tools()).tools):
            try:
                await client.call_tool(name, given)
            except Exception as exc:  # in the SDK's own words
                if name not in MAY_FAIL:
                    raise
                sys.stderr.write(f"{name}: {exc}\n")
        if SCENARIO == "http-standard-headers":
            for resource in (await client.list_resources()).resources:
                await client.read_resource(resource.uri)
            for prompt in (await client.list_prompts()).prompts:
                await client.get_prompt(prompt.name)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[-1]))
