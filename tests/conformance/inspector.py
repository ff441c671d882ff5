"""The Inspector's --cli on server-everything prints the same JSON with and without the relay, for each call it offers.

Two pairs: the server on stdio beside `mcp-relay -- SERVER` over HTTP, and the server on Streamable HTTP beside
`mcp-relay URL` on stdio. Where two answers differ, the call is made direct once more: a place that differs between the
two direct answers as well (the time, a session's id) is left out of the comparison, and no other.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import peers

from . import processes, runner

CALL_SECONDS = 40.0
CLOCK_SECONDS = 1.1  # between two direct calls: the server tells the time in seconds
TOOLS: tuple[tuple[str, ...], ...] = (  # all but get-roots-list and simulate-research-query, which need client features
    ("echo", "message=grüße \U0001f9ea"),
    ("get-annotated-message", "messageType=error", "includeImage=true"),
    ("get-env",),
    ("get-resource-links", "count=3"),
    ("get-resource-reference", "resourceType=Text", "resourceId=1"),
    ("get-structured-content", "location=Chicago"),
    ("get-sum", "a=0.1", "b=0.2"),
    ("get-tiny-image",),
    ("gzip-file-as-resource", "name=a.gz", "data=data:text/plain,hello", "outputType=resource"),
    ("toggle-simulated-logging",),
    ("toggle-subscriber-updates",),
    ("trigger-long-running-operation", "duration=1", "steps=3"),
)
DOCUMENT = "demo://resource/static/document/features.md"
METHODS: tuple[tuple[str, ...], ...] = (
    ("tools/list",),
    ("resources/list",),
    ("resources/templates/list",),
    ("prompts/list",),
    ("resources/read", "--uri", DOCUMENT),
    ("resources/read", "--uri", "demo://resource/dynamic/text/7"),
    ("resources/read", "--uri", "demo://resource/dynamic/blob/7"),
    ("prompts/get", "--prompt-name", "simple-prompt"),
    ("prompts/get", "--prompt-name", "args-prompt", "--prompt-args", "city=Oslo"),
    ("logging/setLevel", "--log-level", "debug"),
)
Call = tuple[str, ...]
Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """One call one way: what was lost, empty if nothing, and how many places were left out."""

    call: str
    way: str
    lost: str
    volatile: int


def calls() -> list[Call]:
    """Return the options of every call."""
    tools: list[Call] = []
    for name, *arguments in TOOLS:
        given = ("--tool-arg", *arguments) if arguments else ()
        tools.append(("tools/call", "--tool-name", name, *given))
    return [*METHODS, *tools]


async def compare(folder: Path, slots: asyncio.Semaphore) -> list[Compared]:
    """Make every call every way."""
    folder.mkdir(parents=True, exist_ok=True)
    command = peers.everything_server()
    port = peers.free_port()
    served = peers.everything_server_http(port)
    async with (
        processes.listening([*processes.RELAY, "--port", "0", "--", *command], folder / "relay.log") as relayed,
        processes.running(served, stderr=asyncio.subprocess.DEVNULL),
    ):
        await asyncio.to_thread(peers.wait_for_port, port)
        url = peers.server_url(http=port)

        async def ask(way: str, target: list[str], number: int, call: Call) -> Any:
            async with slots:
                return await inspect(target, call, folder / f"{number}-{way.replace(' ', '-')}.log")

        async def compare_call(number: int, call: Call, kind: str, target: list[str], through: list[str]) -> Compared:
            direct, relayed = await asyncio.gather(
                ask(f"{kind} direct", target, number, call), ask(f"{kind} relayed", through, number, call)
            )
            found, volatile = set(differences(direct, relayed)), set[Place]()
            if found:
                await asyncio.sleep(CLOCK_SECONDS)
                volatile = set(differences(direct, await ask(f"{kind} again", target, number, call)))
            return Compared(name_of(call), kind, explain(direct, relayed, found - volatile), len(found & volatile))

        pairs = (("stdio server", command, [relayed]), ("HTTP server", [url], [*processes.RELAY, url]))
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(compare_call(number, call, *pair), name=f"{pair[0]} {name_of(call)}")
                for number, call in enumerate(calls())
                for pair in pairs
            ]
    return [task.result() for task in tasks]


def name_of(call: Call) -> str:
    """Name a call in a table: its method, and the first thing it says about it."""
    return " ".join((call[0], *call[2:3]))


async def inspect(target: list[str], call: Call, log: Path) -> Any:
    """Make one call; return the JSON that was printed, or what was said instead."""
    method, *options = call
    argv = [*peers.inspector_cli(), *target, "--method", method, *options]
    if len(target) == 1:
        argv += ["--transport", "http"]
    output, code = await runner.run(argv, log, {}, CALL_SECONDS, only_stdout=True)
    try:
        return json.loads(output)
    except ValueError:
        return {"not JSON": output[-500:], "exit code": code}


def differences(one: Any, other: Any, place: Place = ()) -> Iterator[Place]:
    """Name every place in which two JSON values differ."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key in one:
            yield from differences(one[key], other[key], (*place, key))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for at, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from differences(left, right, (*place, at))
    elif one != other or type(one) is not type(other):
        yield place


def explain(direct: Any, relayed: Any, found: set[Place]) -> str:
    """Say where the relayed answer differs; what is no JSON is no answer."""
    if isinstance(direct, dict) and "not JSON" in direct:
        return f"no answer direct: {direct}"
    return f"differs at {'/'.join(map(str, min(found, key=str)))}: {str(relayed)[:300]}" if found else ""


def lines(found: list[Compared]) -> list[str]:
    """Make the table."""
    ways = list(dict.fromkeys(one.way for one in found))
    names = list(dict.fromkeys(one.call for one in found))
    width = max(map(len, names))
    text = ["Inspector --cli, direct beside relayed", "  " + " " * width + "".join(f"{way:>14}" for way in ways)]
    for name in names:
        cells = [("LOST" if one.lost else "same") + ("*" if one.volatile else "") for one in found if one.call == name]
        text.append(f"  {name:<{width}}" + "".join(f"{cell:>14}" for cell in cells))
    text.append("  * but for places that differ between two direct runs")
    return [*text, "", *(f"LOST: inspector {one.way} {one.call}: {one.lost}" for one in found if one.lost)]
