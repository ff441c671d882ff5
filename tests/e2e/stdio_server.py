"""Be a stdio MCP server that does on demand whatever a server may do to a relay: a script, quick to start.

The method of a request names what happens, ``params`` how much. Ids and params are echoed as the bytes they came as.

    initialize                  the version asked for (--version V, --initialize-delay S, --initialize-fails)
    echo                        {"params": …} with the very bytes of the request's params
    delay {seconds}             an echo, later; other requests are answered meanwhile
    silent                      nothing, ever
    gather {of, count}          nothing until so many have come; then, shuffled, each one's progress and echo
    subscriptions/listen        an acknowledgement; then what the next two say, until it is cancelled
    change {count}              that many list_changed on each subscription, with its params, or one for all; an echo
    complete                    the answer that ends each subscription; an echo
    progress {count, silent}    that many notifications/progress on the request's token, then an echo (or silence)
    notify {count, size, after} an echo, then notifications/message numbered 0… (``after`` seconds later)
    log {count, size}           notifications/message numbered 0…, then an echo
    ask                         a request to the client first; its answer's bytes are in ours
    noise {count}               lines that are not JSON-RPC, then an echo
    big {bytes}                 an answer of at least that many bytes
    flood {count, size}         as ``notify``, written by a thread that never stops for anything but a full pipe
    partial {bytes}             the beginning of an answer, no newline; then nothing
    exit {code}                 the end of the process
    deaf                        an echo; stdin is never read again
    grandchild                  {"pid", "child"}: starts a process that would outlive us
    pid                         {"pid"}
    started                     {"argv", "environ"}: what the process was given
    seen                        {"lines": […]}: every notification and response that came, as strings

A batch is answered as one batch; one whose first params have ``"apart": true``, member by member.
"""

import _json
import _thread
import os
import sys
import time

TYPE_CHECKING = False  # as in typing, which is not imported
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class _Plain:
    """What the C scanner asks of a ``json.JSONDecoder``: json and threading would take 12 ms to import."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


_decode = _json.make_scanner(_Plain)  # type: ignore[arg-type]  # a name of the type itself
_encode = _json.make_encoder({}, repr, _json.encode_basestring_ascii, None, ": ", ", ", False, False, True)
_output = os.fdopen(os.dup(1), "wb", 0)
_writing = _thread.allocate_lock()
_seen: "list[str]" = []
_gathered: "list[tuple[str, str, int]]" = []
_listening: "dict[str, str]" = {}
_SUBSCRIPTION = '{"_meta":{"io.modelcontextprotocol/subscriptionId":'
_asking: "dict[str, tuple[str, str]]" = {}


def option(name: str) -> "str | None":
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else None


def loads(text: str) -> "Any":
    """Read JSON text that begins with its value."""
    return _decode(text, 0)[0]


def dumps(value: object) -> str:
    """Write a value as ``json.dumps`` does."""
    return "".join(_encode(value, 0))


def members(text: str) -> "dict[str, str]":
    """Return the text of each member of a JSON object: the bytes as they came, the first of two that are equal."""
    found: dict[str, str] = {}
    at = text.index("{") + 1
    while True:
        at = skip(text, at)
        if text[at] == "}":
            return found
        key, at = _decode(text, at)
        at = skip(text, skip(text, at) + 1)
        begin = at
        _, at = _decode(text, at)
        found.setdefault(key, text[begin:at])
        at = skip(text, at)
        if text[at] == ",":
            at += 1


def skip(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at


def say(line: str, end: str = "\n") -> None:
    data = memoryview((line + end).encode("utf-8", "surrogatepass"))
    with _writing:
        while data:
            data = data[_output.write(data) :]


def answer(request_id: str, result: str) -> str:
    return '{"jsonrpc":"2.0","id":' + request_id + ',"result":' + result + "}"


def later(seconds: float, work: "Callable[..., None]", *args: object) -> None:
    def wait() -> None:
        time.sleep(seconds)  # noqa: TID251 - a thread of its own
        work(*args)

    _thread.start_new_thread(wait, ())


def notices(count: int, size: int) -> None:
    for number in range(count):
        data = dumps({"number": number, "fill": "x" * size})
        say('{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":' + data + "}}")


def progress(token: object, count: int) -> None:
    for number in range(count):
        params = dumps({"progressToken": token, "progress": number})
        say('{"jsonrpc":"2.0","method":"notifications/progress","params":' + params + "}")


def spill() -> None:
    """Answer all that was gathered, each after its progress, one's among the others'."""
    import random  # here, as of hundreds of these servers few need it, and each would start 5 ms later

    random.Random(20260728).shuffle(_gathered)
    for _, params, count in _gathered:
        token = loads(params).get("_meta", {}).get("progressToken")
        if token is not None:
            progress(token, count)
    for request_id, params, _ in reversed(_gathered):
        say(answer(request_id, '{"params":' + params + "}"))
    _gathered.clear()


def change(count: int) -> None:
    for number in range(count):
        what = '{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":'
        for listen, params in _listening.items():
            say(what + _SUBSCRIPTION + listen + '},"number":' + str(number) + ',"params":' + params + "}}")
        if not _listening:
            say(what + '{"number":' + str(number) + "}}")


def handle(method: str, request_id: str, params: str) -> "str | None":
    """Do what the method says; return the answer, if there is one to give now."""
    wanted = loads(params) if params else {}
    wanted = wanted if isinstance(wanted, dict) else {}
    echo = answer(request_id, '{"params":' + (params or "null") + "}")
    count, size = wanted.get("count", 1), wanted.get("size", 0)
    if method == "initialize":
        return initialize(request_id, wanted)
    if method == "delay":
        later(wanted["seconds"], say, echo)
        return None
    if method == "progress":
        progress(wanted["_meta"]["progressToken"], count)
        return None if wanted.get("silent") else echo
    if method in ("notify", "flood"):
        later(wanted.get("after", 0), notices, count, size)
    elif method == "log":
        notices(count, size)
    elif method == "noise":
        for number in range(count):
            say(f"noise {number} \x1b[31m not json")
    elif method == "big":
        return answer(request_id, '{"fill":"' + "x" * wanted["bytes"] + '"}')
    elif method == "ask":
        _asking[f"ask-{request_id}"] = (request_id, params)
        asked = dumps(f"ask-{request_id}")
        say('{"jsonrpc":"2.0","id":' + asked + ',"method":"roots/list","params":{}}')
        return None
    elif method == "gather":
        _gathered.append((request_id, params, count))
        if len(_gathered) == wanted["of"]:
            spill()
        return None
    elif method == "subscriptions/listen":
        _listening[request_id] = params
        ack = _SUBSCRIPTION + request_id + '},"notifications":{"toolsListChanged":true}}'
        say('{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":' + ack + "}")
        return None
    elif method == "change":
        change(count)
    elif method == "complete":
        while _listening:
            listen, _ = _listening.popitem()
            say(answer(listen, '{"resultType":"complete",' + _SUBSCRIPTION[1:] + listen + "}}"))
    elif method == "silent":
        return None
    elif method == "partial":
        say('{"jsonrpc":"2.0","id":' + request_id + ',"result":{"fill":"' + "x" * wanted.get("bytes", 10), end="")
        return None
    elif method == "exit":
        os._exit(wanted.get("code", 0))
    elif method == "deaf":
        say(echo)
        never = _thread.allocate_lock()
        with never:
            never.acquire()
    elif method == "grandchild":
        import subprocess  # as above: 10 ms

        child = subprocess.Popen(["/bin/sleep", "1000"], stdin=subprocess.DEVNULL)
        return answer(request_id, dumps({"pid": os.getpid(), "child": child.pid}))
    elif method == "pid":
        return answer(request_id, dumps({"pid": os.getpid()}))
    elif method == "started":
        return answer(request_id, dumps({"argv": sys.argv[1:], "environ": dict(os.environ)}))
    elif method == "seen":
        return answer(request_id, dumps({"lines": _seen}))
    return echo


def initialize(request_id: str, wanted: "dict[str, object]") -> "str | None":
    time.sleep(float(option("--initialize-delay") or 0))  # noqa: TID251 - a script of its own, without a loop
    if "--initialize-fails" in sys.argv:
        return '{"jsonrpc":"2.0","id":' + request_id + ',"error":{"code":-32602,"message":"unsupported"}}'
    version = option("--version") or wanted.get("protocolVersion", "2025-11-25")
    result = {"protocolVersion": version, "capabilities": {}, "serverInfo": {"name": "stdio_server", "version": "1"}}
    return answer(request_id, dumps(result))


def take(text: str) -> "str | None":
    """Take one message; return its answer."""
    parts = members(text)
    if "id" not in parts or "method" not in parts:
        _seen.append(text)
        if "cancelled" in parts.get("method", ""):
            _listening.pop(members(parts["params"]).get("requestId", ""), None)
        if "id" in parts and (asked := _asking.pop(loads(parts["id"]), None)) is not None:
            return answer(asked[0], '{"client":' + text + ',"params":' + (asked[1] or "null") + "}")
        return None
    return handle(loads(parts["method"]), parts["id"], parts.get("params", ""))


def main() -> None:
    for raw in sys.stdin.buffer:
        text = raw.decode("utf-8").strip()
        if not text.startswith("["):
            reply = take(text)
            if reply is not None:
                say(reply)
            continue
        replies = [reply for message in elements(text) if (reply := take(message)) is not None]
        if '"apart"' in text:
            for reply in replies:
                say(reply)
        elif replies:
            say("[" + ",".join(replies) + "]")


def elements(text: str) -> "list[str]":
    found = []
    at = 1
    while text[at := skip(text, at)] != "]":
        begin = at
        _, at = _decode(text, at)
        found.append(text[begin:at])
        at = skip(text, at)
        if text[at] == ",":
            at += 1
    return found


if __name__ == "__main__":
    sys.set_int_max_str_digits(0)
    main()
