"""What a tool, prompt or resource of offer.json does, apart from any SDK; behaviour.mjs says the same in JavaScript.

Whoever changes one changes the other.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

OFFER: dict[str, Any] = json.loads(Path(__file__).with_name("offer.json").read_text(encoding="utf-8"))
CAPABILITY = {"elicitation/create": "elicitation", "sampling/createMessage": "sampling", "roots/list": "roots"}
JSON_TYPES: dict[str, type] = {"string": str, "boolean": bool}

Requests = dict[str, dict[str, Any]]


def fill(value: Any, given: dict[str, Any]) -> Any:
    """Replace `{name}` in every string below a value by the argument of that name."""
    if isinstance(value, str):
        return re.sub(r"\{(\w+)\}", lambda found: str(given.get(found[1], found[0])), value)
    if isinstance(value, list):
        return [fill(one, given) for one in value]
    if isinstance(value, dict):
        return {key: fill(one, given) for key, one in value.items()}
    return value


def find_resource(uri: str) -> dict[str, Any] | None:
    """Find the contents of a resource."""
    if uri in OFFER["resources"]:
        return {"uri": uri} | {key: one for key, one in OFFER["resources"][uri].items() if key != "name"}
    for template, found in OFFER["templates"].items():
        before, after = template.split("{id}")
        if uri.startswith(before) and uri.endswith(after):
            identifier = uri.removeprefix(before).removesuffix(after)
            return {"uri": uri, "mimeType": found["mimeType"], "text": fill(found["text"], {"id": identifier})}
    return None


def still_needed(
    does: dict[str, Any], responses: dict[str, Any], behind: int, capabilities: dict[str, Any]
) -> tuple[Requests, int] | None:
    """Decide what a multi-round call still needs and which round that is; None if everything has been answered.

    `behind` is how many rounds the sealed state says are behind us.
    """
    rounds: list[Requests] = does["rounds"]
    if behind > 0 and is_answered(rounds[behind - 1], responses):
        return (rounds[behind], behind + 1) if behind < len(rounds) else None
    wanted = rounds[0]
    if does.get("able"):
        wanted = {key: one for key, one in wanted.items() if CAPABILITY[one["method"]] in capabilities}
    if not does.get("sealed") and is_answered(wanted, responses):
        return None
    return wanted, 1


def is_answered(requests: Requests, responses: dict[str, Any]) -> bool:
    """Ask whether every request has an answer of the shape it asked for."""
    return all(key in responses and fits(one, responses[key]) for key, one in requests.items())


def fits(request: dict[str, Any], answer: dict[str, Any]) -> bool:
    """Ask whether this is an answer to this request."""
    if request["method"] == "roots/list":
        return isinstance(answer.get("roots"), list)
    if request["method"] == "sampling/createMessage":
        return "content" in answer
    schema = request["params"]["requestedSchema"]
    content = answer.get("content") or {}
    kinds = {name: JSON_TYPES[schema["properties"][name]["type"]] for name in schema["required"]}
    return answer.get("action") == "accept" and all(isinstance(content.get(name), kind) for name, kind in kinds.items())
