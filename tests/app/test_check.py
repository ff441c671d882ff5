"""``mcp-relay test`` reports what a server offers, or what is wrong with it.

The servers here are scripted, one line of answer to each request; real ones are in ``tests/e2e/test_check.py``.
"""

from __future__ import annotations

import http.server
import json
import logging
import re
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay import cli
from relay.app.doctor.advice import explain_connection, shown
from relay.app.doctor.report import Found, Listing, as_lines
from relay.errors import EndpointUnavailable

Json = dict[str, Any]

SCRIPT = """
import json, os, sys, time
answers = json.loads(sys.argv[1])
sys.stderr.write("ready\\n")
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message or "method" not in message:
        continue
    reply = answers.get(message["method"], {"error": {"code": -32601, "message": "unknown", "data": "text"}})
    reply = reply.pop(0) if isinstance(reply, list) else reply
    if isinstance(reply, int):
        sys.exit(reply)
    if isinstance(reply, float):
        time.sleep(reply)
        reply = answers["then"]
    if isinstance(reply, str):
        print(reply, flush=True)
        continue
    if reply is not None:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **reply}), flush=True)
"""
PROGRAM = Path(sys.executable).name
MODERN: Json = {
    "result": {
        "resultType": "complete",
        "supportedVersions": ["2026-07-28"],
        "capabilities": {"tools": {}},
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "modern", "version": "2"}},
    }
}


def legacy(**capabilities: object) -> Json:
    """Make the answer to ``initialize``."""
    server = {"name": "scripted", "version": "1"}
    return {"result": {"protocolVersion": "2025-06-18", "capabilities": capabilities, "serverInfo": server}}


def scripted(**answers: object) -> list[str]:
    """Return the words for a server: methods with ``_`` for the slash."""
    table = {name.replace("_", "/"): answer for name, answer in {"ping": {"result": {}}, **answers}.items()}
    return ["--", sys.executable, "-S", "-c", SCRIPT, json.dumps(table)]


class Run:
    """What one run of the program said."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def report(self) -> Json:
        """The one JSON object on stdout."""
        report: Json = json.loads(self.out)
        return report

    @property
    def reason(self) -> str:
        """The last line on stderr, without the program's name."""
        return self.err.splitlines()[-1].removeprefix("mcp-relay: ")


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Give a function that runs the program with these words."""
    for name in ("API_ACCESS_TOKEN", "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def run_test(*words: str) -> Run:
        capfd.readouterr()
        code = cli.main(["test", *words])
        said = capfd.readouterr()
        return Run(code, said.out, said.err)

    yield run_test
    root.handlers[:] = handlers
    root.setLevel(level)


# -- what is found ----------------------------------------------------------------------------------------------------


def test_the_report(run: Any) -> None:
    """A line for each thing; nothing on stderr; the server's own stderr is not shown."""
    tools = {"result": {"tools": [{"name": "a"}, {"name": "b\u001b[31m"}]}}
    done = run(*scripted(initialize=legacy(tools={}, prompts={}), tools_list=tools, prompts_list={"result": {}}))
    assert (done.code, done.err) == (0, "")
    lines = re.sub(r"\d+(\.\d)? ms", "N ms", done.out).splitlines()
    assert lines == [
        f"ok          {PROGRAM}",
        "transport   stdio",
        "server      scripted 1",
        "revisions   2025-06-18 by initialize",
        "times       connect N ms, first answer N ms, initialize N ms, round trip N ms",
        "tools       2: a, b\\x1b[31m",
        "resources   not offered",
        "prompts     0",
    ]


def test_the_report_as_json(run: Any) -> None:
    """Everything in one object, and names as they are."""
    resources = {"result": {"resources": [{"uri": "x://1"}, {"name": "\ud83d"}, 5]}}
    done = run("--json", *scripted(initialize=legacy(resources={}), resources_list=resources))
    report = done.report
    assert (done.code, report["ok"], report["error"], report["noise"]) == (0, True, None, 0)
    assert report["server"] == {"name": "scripted", "version": "1"}
    assert (report["transport"], report["revisions"]) == ("stdio", ["2025-06-18"])
    assert report["resources"] == {"count": 3, "names": ["x://1", "?", "?"], "complete": True}
    assert (report["tools"], report["prompts"]) == (None, None)
    times = report["milliseconds"]
    assert set(times) == {"connect", "first_answer", "initialize", "round_trip"}
    assert all(0 < value < 60_000 for value in times.values())


def test_both_eras(run: Any) -> None:
    """Each on a connection of its own: what speaks one may not speak the other any more."""
    tools = {"result": {"tools": [{"name": "t"}]}}
    done = run("--json", *scripted(server_discover=MODERN, initialize=legacy(), tools_list=tools))
    assert done.report["revisions"] == ["2026-07-28", "2025-06-18"]
    assert done.report["server"]["name"] == "modern"
    assert done.report["tools"]["names"] == ["t"]
    alone = run("--json", *scripted(server_discover=MODERN, tools_list=tools, initialize=3))
    assert (alone.code, alone.report["revisions"]) == (0, ["2026-07-28"])


def test_a_newer_revision_is_asked_for_as_the_server_wants(run: Any) -> None:
    """-32022 names what it speaks."""
    refusal = {"error": {"code": -32022, "message": "no", "data": {"supported": ["2027-01-01"], "requested": "x"}}}
    newer = {"result": {**MODERN["result"], "supportedVersions": ["2027-01-01"]}}
    words = scripted(server_discover=[refusal, newer, newer], tools_list={"result": {"tools": []}})
    assert run("--json", *words).report["revisions"] == ["2027-01-01"]


def test_a_server_that_dies_of_what_it_does_not_know(run: Any) -> None:
    """It is started again, and only ``initialize`` is asked."""
    done = run("--json", *scripted(server_discover=1, initialize=legacy()))
    assert (done.code, done.report["revisions"], done.err) == (0, ["2025-06-18"], "")


def test_a_server_that_ignores_what_it_does_not_know(run: Any) -> None:
    """``initialize`` follows in time."""
    done = run("--json", "--timeout", "2", *scripted(server_discover=None, initialize=legacy()))
    assert (done.code, done.report["revisions"]) == (0, ["2025-06-18"])


def test_a_modern_server_that_is_slow_to_start(run: Any) -> None:
    """Its answer is taken when it comes, although ``initialize`` was asked meanwhile."""
    words = scripted(server_discover=[1.3, MODERN], then=MODERN, tools_list={"result": {"tools": []}})
    done = run("--json", "--timeout", "2", *words)
    assert (done.code, done.report["revisions"]) == (0, ["2026-07-28"])
    assert done.report["milliseconds"]["first_answer"] >= 1300


def test_pages_are_followed_to_the_end(run: Any) -> None:
    """An empty cursor is one; one that comes again ends it."""
    pages = [
        {"result": {"tools": [{"name": "a"}], "nextCursor": ""}},
        {"result": {"tools": [{"name": "b"}], "nextCursor": "x"}},
        {"result": {"tools": [{"name": "c"}]}},
    ]
    done = run("--json", *scripted(initialize=legacy(tools={}), tools_list=pages))
    assert done.report["tools"] == {"count": 3, "names": ["a", "b", "c"], "complete": True}
    turning = {"result": {"tools": [{"name": "a"}], "nextCursor": "x"}}
    done = run(*scripted(initialize=legacy(tools={}), tools_list=turning))
    assert (done.code, done.out.splitlines()[5]) == (0, "tools       2 and more: a, a")


def test_what_the_server_asks_meanwhile(run: Any) -> None:
    """A ping is answered, so that it goes on."""
    ping = '{"jsonrpc":"2.0","id":"p","method":"ping"}'
    words = scripted(initialize=legacy())
    words[4] = (
        "import sys\nfor line in sys.stdin:\n"
        f"    if 'initialize\"' in line: print({ping!r}, flush=True)\n"
        "    if '\"p\"' in line: print('" + json.dumps({"jsonrpc": "2.0", "id": 2, **legacy()}) + "', flush=True)\n"
        '    if \'"method":"ping"\' in line: print(\'{"jsonrpc":"2.0","id":3,"result":{}}\', flush=True)\n'
    )
    assert run("--timeout", "3", *words).code == 0


def test_noise_on_stdout_is_shown_and_no_failure(run: Any) -> None:
    """A server that works all the same works; but it is said."""
    words = scripted(initialize=legacy())
    words[4] = "print('hello\\nagain', flush=True)\n" + words[4]
    done = run("--json", *words)
    assert (done.code, done.report["noise"]) == (0, 2)
    first, *lines = done.err.splitlines()
    assert "WARNING" in first and "wrote a line to stdout that is not JSON-RPC" in first
    assert lines == [f"[{PROGRAM}] hello", f"[{PROGRAM}] again"]


def test_many_names_are_cut_short() -> None:
    """Not in JSON."""
    found = Found("x", negotiated="2025-11-25", lists={"tools": Listing([f"t{n}" for n in range(30)])})
    assert as_lines(found, None)[-1].endswith("t18, t19, … 10 more, see --json")
    assert shown("x" * 200) == "x" * 120 + "…"


# -- what is wrong ----------------------------------------------------------------------------------------------------

ECHO = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"
WRONG: list[tuple[list[str], str]] = [
    (["no-such-command"], "command 'no-such-command' was not found or cannot be run; give its full path"),
    (["--cwd", "/no/such", PROGRAM], "working directory '/no/such' does not exist"),
    (
        ["--", sys.executable, "-S", "-c", "import sys; sys.exit('no licence')"],
        f"{PROGRAM}: exited with status 1 without an answer to initialize; the end of its stderr is above",
    ),
    (
        ["--", sys.executable, "-S", "-c", "import sys; sys.exit(4)"],
        f"{PROGRAM}: exited with status 4 without an answer to initialize; it wrote nothing on stderr",
    ),
    (
        ["--", sys.executable, "-S", "-c", "print('hello')"],
        f"{PROGRAM}: ended without an answer to initialize; on stdout it wrote 'hello'; does it speak MCP on stdio?",
    ),
    (
        ["--timeout", "0.6", "--", sys.executable, "-S", "-c", "import sys; sys.stdin.read()"],
        f"{PROGRAM}: no answer to initialize within 0.6 s; does it speak MCP on stdio?",
    ),
    (
        ["--timeout", "0.6", "--", sys.executable, "-S", "-c", "import sys; print(1, flush=True); sys.stdin.read()"],
        f"{PROGRAM}: no answer to initialize within 0.6 s; on stdout it wrote '1'; only messages may be there",
    ),
    (scripted(), f"{PROGRAM}: refused initialize: error -32601: unknown; it answers, but serves no MCP"),
    (["--", sys.executable, "-S", "-c", ECHO], f"{PROGRAM}: it sends back what it gets; is it an MCP server?"),
    (["localhost:80"], "localhost:80: there is no such command; a server's address is tcp://localhost:80 or http://"),
    (scripted(initialize={"result": 5}), f"{PROGRAM}: refused initialize: an answer without a result"),
    (scripted(initialize={"result": {}}), "an answer without a protocolVersion"),
    (
        scripted(initialize=legacy(tools={})),
        f"{PROGRAM}: tools/list: error -32601: unknown; its capabilities name tools: look into its log",
    ),
    (["tcp://127.0.0.1:9"], "tcp://127.0.0.1:9: cannot connect: Connection refused; start the server, or check its"),
    (["http://127.0.0.1:9/mcp"], "http://127.0.0.1:9/mcp: cannot connect: Connection refused; start the server"),
    (["ws://127.0.0.1:9/mcp"], "ws://127.0.0.1:9/mcp: cannot connect: Connection refused; start the server"),
    (["http://no.invalid/"], "cannot connect: no address is known for this host; check the name of the host"),
    (["unix:/no/such"], "unix:/no/such: cannot connect: No such file or directory; start the server, or check its"),
]


@pytest.mark.parametrize(("words", "reason"), WRONG)
def test_what_is_wrong_is_one_line_that_says_what_to_try(run: Any, words: list[str], reason: str) -> None:
    """And exit code 1."""
    done = run(*words)
    assert done.code == 1
    assert reason in done.reason
    if "its stderr is above" in reason:
        assert done.err.splitlines()[-2] == f"[{PROGRAM}] no licence"


def test_what_was_found_until_then_is_reported(run: Any) -> None:
    """As text and as JSON, with the reason in it."""
    done = run(*scripted(initialize=legacy(tools={})))
    assert done.out.startswith("failed ")
    report = run("--json", *scripted(initialize=legacy(tools={}))).report
    assert (report["ok"], report["revisions"], report["advice"][:16]) == (False, ["2025-06-18"], "its capabilities")
    assert "error -32601" in report["error"]
    assert run("no-such-command").out == ""
    report = run("--json", "no-such-command").report
    assert report["error"] == "command 'no-such-command' was not found or cannot be run"
    assert report["advice"] == "give its full path, or add it to PATH"


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers everything with the status that the path names, and a web page."""

    def do_GET(self) -> None:
        """Answer."""
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.send_response(int(self.path.strip("/")))
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"<p>")

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def answering() -> Iterator[str]:
    """Serve web pages; give the origin."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, name="web pages").start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ((), 200, "HTTP 200: answered with content type 'text/html'; this is no MCP server; try "),
        ((), 302, "HTTP 302: redirects are not followed; configure the final address"),
        ((), 401, "HTTP 401 Unauthorized; the server requires a token: API_ACCESS_TOKEN=…, or -H Authorization "),
        (("-H", "Authorization", "Bearer x"), 401, "HTTP 401 Unauthorized; the server does not accept this login"),
        ((), 403, "HTTP 403 Forbidden; access is refused"),
        ((), 404, "HTTP 404 Not Found; nothing for MCP at this path; try {origin}/mcp or {origin}/sse"),
        (("--transport", "sse"), 404, "/sse; without --transport it is found out what it speaks"),
        ((), 421, "call the server by a host name that it knows"),
        ((), 429, "wait and try again"),
        ((), 503, "HTTP 503 Service Unavailable; the server, or a gateway before it, has failed: look into its log"),
    ],
)
def test_http_statuses(run: Any, answering: str, words: tuple[str, ...], status: int, said: str) -> None:
    """Each with what it means here."""
    done = run(*words, f"{answering}/{status}")
    assert (done.code, done.out) == (1, "")
    assert done.reason.startswith(f"{answering}/{status}: HTTP {status}")
    assert said.format(origin=answering) in done.reason


def test_a_websocket_where_there_is_none(run: Any, answering: str) -> None:
    """The status is known there, too."""
    origin = answering.replace("http", "ws")
    assert run(f"{origin}/404").reason.endswith(f"; try {origin}/mcp")


def test_another_protocol_behind_a_tcp_address(run: Any, answering: str) -> None:
    """What is there is found out by asking."""
    address = answering.removeprefix("http://")
    assert run("--timeout", "1", f"tcp://{address}").reason.endswith(f"; it speaks HTTP: try {answering}/mcp")


def test_tls_where_there_is_none(run: Any, answering: str) -> None:
    """The first letters of the address are wrong."""
    reason = run(answering.replace("http", "https") + "/200").reason
    assert "the TLS handshake failed" in reason
    assert reason.endswith("if the server speaks without TLS, its address begins with http://")


def test_an_http_server_that_takes_requests_and_is_silent(run: Any) -> None:
    """All in all not longer than ``--timeout``, and a second for good measure."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        done = run("--timeout", "0.6", url)
    assert done.code == 1
    assert done.reason.startswith(f"{url}: no answer to initialize within 0.6 s; look into the server's log")


def test_a_connection_that_does_not_come_about() -> None:
    """Firewalls drop."""
    failure = explain_connection("tcp://h:1", TimeoutError(), 3)
    assert str(failure) == (
        "tcp://h:1: cannot connect: no answer within 3 s; check the address, and whether a firewall is in between"
    )
    assert str(explain_connection("x", EndpointUnavailable("x: odd"), 3)) == "x: odd"


def test_no_secret_is_shown(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of the address nor of a header."""
    monkeypatch.setenv("API_ACCESS_TOKEN", "canary-token")
    words = ("ws://me:canary-pass@127.0.0.1:9/mcp?api_key=canary-key", "http://127.0.0.1:9/?token=canary")
    for word in words:
        done = run("--json", word)
        assert done.code == 1
        assert "canary" not in done.out + done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no URL or command to test; see mcp-relay test --help"),
        (["--port", "1", "x"], "unrecognized arguments: --port; if they are the command's own, put -- before it"),
        (["--bad"], "see mcp-relay test --help"),
        (["--timeout", "0", "x"], "--timeout: nothing answers within 0 seconds"),
        (["http://h/", "x"], "nothing may follow the URL, but 'x' does"),
        (["stdio:"], "stdio: is our own stdin and stdout; name the command that is to be tested"),
        (["ftp://h/"], "ftp://… is neither a command nor an address of a kind that is known: http://, https://"),
        (["http://:80/"], "it names no host, or the port 0; expected http://host/path"),
        (["-H", "A B", "c", "http://h/"], "-H: 'A B' is not a header name"),
    ],
)
def test_mistakes_on_the_command_line(run: Any, words: list[str], said: str) -> None:
    """One line, and exit code 2."""
    done = run(*words)
    assert (done.code, done.out) == (2, "")
    assert said in done.reason


def test_what_is_of_no_use_is_said(run: Any) -> None:
    """As when relaying."""
    assert "WARNING -H has no effect before a command" in run("-H", "A", "b", *scripted(initialize=legacy())).err
    assert "WARNING --cwd has no effect before a URL" in run("--cwd", "/", "http://127.0.0.1:9/").err


def test_help(run: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """Its own options."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["test", "--help"])
    assert ended.value.code == 0
    said = capfd.readouterr().out
    assert all(word in said for word in ("--json", "--timeout", "--headers", "--pass-environment", "--debug"))
    assert "--port" not in said


# -- notification-demo ------------------------------------------------------------------------------------------------


def test_notification_demo(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """One line each, levels in turn, every one a level of MCP."""
    monkeypatch.setattr("relay.app.commands.notification_demo.PAUSE", 0.0)
    assert cli.main(["notification-demo", "--count", "5"]) == 0
    said = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [one["params"]["level"] for one in said] == ["info", "warning", "error", "debug", "info"]
    assert said[0] == {
        "jsonrpc": "2.0",
        "method": "notifications/message",
        "params": {"level": "info", "logger": "mcp-proxy", "data": "Demo info message 1"},
    }
    assert cli.main(["notification-demo", "--count", "0"]) == 2
    assert "'0' is not a number above 0; see mcp-relay notification-demo --help" in capfd.readouterr().err
