"""The relay drops no frame of a burst that comes before the client reads its stream."""

from __future__ import annotations

import json
import sys

import pytest

from tests.e2e.oracle import Client, request, run_relay

pytestmark = pytest.mark.only_loop("asyncio")  # the relay under test is another process

BURST = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("method") == "initialize":
        result = {"protocolVersion": message["params"]["protocolVersion"], "capabilities": {}, "serverInfo": {}}
    elif "id" in message:
        params = message["params"]
        token = params["_meta"]["progressToken"]
        for number in range(params["count"]):
            notice = {"progressToken": token, "progress": number, "message": "x" * params["size"]}
            sys.stdout.write(json.dumps(
                {"jsonrpc": "2.0", "method": "notifications/progress", "params": notice}) + "\\n")
        result = {"fill": "y" * params["answer"]}
    else:
        continue
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}) + "\\n")
    sys.stdout.flush()
"""


@pytest.mark.parametrize(
    ("count", "size", "answer"), [(3000, 10, 10), (3, 5 * 2**20, 10), (1, 10, 30 * 2**20), (0, 0, 30 * 2**20)]
)
async def test_a_burst_arrives_whole(count: int, size: int, answer: int) -> None:
    """More events, or larger ones, than a session keeps for replay, all at once: each arrives, and the answer."""
    with run_relay(command=[sys.executable, "-c", BURST]) as relay:
        async with Client(relay.base) as client:
            await client.begin()
            for round_ in range(3):
                call = request(
                    round_, "tools/call", _meta={"progressToken": round_}, count=count, size=size, answer=answer
                )
                frames = await client.finished(await client.post(call))
                messages = [json.loads(frame) for frame in frames]
                assert [one["params"]["progress"] for one in messages[:-1]] == list(range(count))
                assert messages[-1]["id"] == round_
                assert len(messages[-1]["result"]["fill"]) == answer
