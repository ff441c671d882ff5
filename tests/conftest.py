"""Run `async def` tests on asyncio and on uvloop, each bounded in time and checked for leaks.

An async test needs no marker and no plugin:

    async def test_answer_arrives() -> None: ...                   # runs twice: [asyncio] and [uvloop]
    @given(chunks()) async def test_any_chunking(…) -> None: ...   # hypothesis: a fresh loop for each example

    @pytest.mark.async_timeout(60)           # instead of 50 s
    @pytest.mark.only_loop("asyncio")        # where the law is about one loop
    @pytest.mark.each_loop                   # with many parameters over HTTP: each on both loops, not on one of them
    @pytest.mark.allow_leaks("why")          # where a leak is the subject
    @pytest.mark.shortcuts                   # where a shortcut is: `pytest --ordinary-way` takes them all away

Such a test opens what it needs with `async with`; there are no async fixtures. When it ends, no task, descriptor or
child process that it did not find may be left, and nothing may have reached the loop's exception handler.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import itertools
import os
import signal
import sys
import traceback
import zlib
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from tests import bytecode, warm_start

try:
    import uvloop
except ImportError:  # Windows, PyPy: everything must work on plain asyncio
    uvloop = None  # type: ignore[assignment]  # absent module

AsyncTest = Callable[..., Awaitable[object]]


TEST_TIMEOUT = 50.0  # nothing a test waits for takes longer on a loaded CI machine, unless it says so
CLEAN_UP = 40.0  # what a test that was given up may take to end its processes
TOGETHER = (
    "tests/e2e/test_sdk_matrix.py",  # the first of these tests starts what all of them want
    "tests/dropins/test_examples.py",  # servers of an SDK
    "tests/e2e/test_connect_modern.py",  # servers of the SDKs
    "tests/e2e/test_serve_answers.py",  # two relays
    "tests/e2e/test_check.py",  # a relay
    "tests/gateway/test_sdks.py",  # servers of the SDKs
    "tests/app/test_completion.py",  # a shell
)
"""Files whose tests share what takes seconds to start, the longest first."""
IN_TURNS = ("tests/endpoints/http/", "tests/e2e/")
"""Where a test with ``MANY`` sets of parameters runs each of them on one loop, half on either.

Over HTTP, aiohttp and the two transports of a loop lie beneath all of them. `--ordinary-way` takes the other half.
"""
MANY = 8
LEAK_GRACE = 2.0  # closing takes a few turns of the loop, a killed child until it is reaped

settings.register_profile("default", deadline=None)  # a busy machine is no failure
settings.register_profile(
    "fuzz", deadline=None, max_examples=20_000, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let every test be run without the shortcuts, which must change nothing but the speed."""
    parser.addoption("--ordinary-way", action="store_true", help="take from every relay its shortcuts")
    parser.addoption("--each-loop", action="store_true", help="run each set of parameters on both loops")
    parser.addoption("--no-skips", action="store_true", help="a skipped test is a failure: CI has all that tests need")


def pytest_configure(config: pytest.Config) -> None:
    """Let children hear signals; take the shortcuts from relays in this process and in those that it starts.

    Bytecode is written whatever the environment says: each worker, and each program that it starts, would compile the
    same files again. What the collection makes stays, and is no work for the cycle collector.
    """
    _record_one_line_of_each_stack()
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    gc.disable()
    for number in (signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)):
        if signal.getsignal(number) is signal.SIG_IGN:  # by a shell, in the background, or by nohup
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    if config.getoption("--ordinary-way"):
        os.environ["MCP_RELAY_FAST"] = "0"


def _is_about_a_shortcut(item: pytest.Item) -> bool:
    """Tell whether a test has no subject under `--ordinary-way`: some tests are run both ways as it is."""
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    is_fast = parameters.get("kept") is True or parameters.get("way") == "kept" or parameters.get("path") == "/mcp"
    return is_fast or item.get_closest_marker("shortcuts") is not None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let no test be skipped with `--no-skips`."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.config.getoption("--no-skips"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"{reason}; --no-skips allows no skipped test"
    return report


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile what every worker, or every program that a test starts, would compile for itself."""
    if hasattr(session.config, "workerinput"):
        return
    bytecode.compile_package()
    if session.config.getoption("numprocesses", None):
        bytecode.compile_tests()


def pytest_collection_finish() -> None:
    """Begin to collect garbage, but not among thousands of tests: those would be looked at in each of them."""
    gc.freeze()
    gc.enable()


# -- which tests, in which worker -------------------------------------------------------------------------------------


class Shares(LoadScopeScheduling):  # type: ignore[misc]  # has no types
    """Shares the tests out among pytest-xdist's workers: what has something costly in common stays in one of them."""

    def _split_scope(self, nodeid: str) -> str:
        """Name what a test has in common with others."""
        file = nodeid.partition("::")[0]
        if file in TOGETHER:
            return file
        # The end-to-end tests take long and have little in common; of the others a function has what it sets up.
        return nodeid if file.startswith("tests/e2e/") else nodeid.partition("[")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Shares | None:
    """Use ours, unless the command line names another with `--dist`; the longest come first, not the most."""
    config.option.loadscopereorder = False
    return Shares(config, log) if config.getvalue("dist") == "load" else None


def _turn(item: pytest.Item) -> int:
    """Tell when a test's turn is among several workers: the long ones first, so that all workers end together."""
    file = item.nodeid.partition("::")[0]
    if file in TOGETHER:
        return TOGETHER.index(file)
    return len(TOGETHER) + (not file.startswith("tests/e2e/"))


# -- which tests, on which loop ---------------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every async test, and every other that asks for `loop_name`, one run per event loop."""
    if _coroutine_in(metafunc.function) is None and "loop_name" not in metafunc.fixturenames:
        return
    if "loop_name" not in metafunc.fixturenames:
        metafunc.fixturenames.append("loop_name")
    only = metafunc.definition.get_closest_marker("only_loop")
    names = only.args if only else ("asyncio", "uvloop")
    metafunc.parametrize("loop_name", [_loop_param(name) for name in names], indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let an async test's own bound come first: pytest-timeout raises wherever the loop is, which may swallow that."""
    if config.getoption("--ordinary-way"):
        config.hook.pytest_deselected(items=list(filter(_is_about_a_shortcut, items)))
        items[:] = itertools.filterfalse(_is_about_a_shortcut, items)
    if hasattr(config, "workerinput"):
        items.sort(key=_turn)
    if not config.getoption("--each-loop"):
        on_other_loop = _on_other_loop(items, is_odd=config.getoption("--ordinary-way"))
        config.hook.pytest_deselected(items=on_other_loop)
        left_out = {item.nodeid for item in on_other_loop}
        items[:] = [item for item in items if item.nodeid not in left_out]
    for item in items:
        bound = item.get_closest_marker("async_timeout")
        if bound is not None and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(bound.args[0] + CLEAN_UP))


def _on_other_loop(items: list[pytest.Item], *, is_odd: bool) -> list[pytest.Item]:
    """Choose what is left out of each test with many sets of parameters: for each set, one of its two loops."""
    sets: dict[str, dict[str, list[pytest.Item]]] = {}
    for item in items:
        if not (isinstance(item, pytest.Function) and hasattr(item, "callspec")):
            continue
        loop = item.callspec.params.get("loop_name")
        if isinstance(loop, str) and item.nodeid.startswith(IN_TURNS) and item.get_closest_marker("each_loop") is None:
            words = item.callspec.id.split("-")
            words.remove(loop)
            sets.setdefault(item.nodeid.partition("[")[0], {}).setdefault("-".join(words), []).append(item)
    found: list[pytest.Item] = []
    for of_function in sets.values():
        pairs = [(name, pair) for name, pair in of_function.items() if len(pair) == 2]
        if len(pairs) >= MANY:
            # Not by their order: a parameter of two values would meet one loop with each.
            pairs.sort(key=lambda one: zlib.crc32(one[0].encode()))
            found += [pair[at % 2 ^ is_odd] for at, (_, pair) in enumerate(pairs)]
    return found


@pytest.fixture
def loop_name(request: pytest.FixtureRequest) -> str:
    """Name the event loop this test runs on: asyncio or uvloop."""
    return str(request.param)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an async test to its end on its loop; leave every other test to pytest."""
    test = _coroutine_in(pyfuncitem.obj)
    if test is None:
        return None

    def run(*args: object, **kwargs: object) -> None:
        _run(test, pyfuncitem, *args, **kwargs)

    hypothesis_handle = getattr(pyfuncitem.obj, "hypothesis", None)
    if hypothesis_handle is None:
        run(**{name: pyfuncitem.funcargs[name] for name in inspect.signature(test).parameters})
        return True
    hypothesis_handle.inner_test = run  # hypothesis calls it once per example
    try:
        pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters})
    finally:
        hypothesis_handle.inner_test = test
    return True


def _coroutine_in(function: Any) -> AsyncTest | None:
    handle = getattr(function, "hypothesis", None)
    test = function if handle is None else handle.inner_test
    return test if inspect.iscoroutinefunction(test) else None


def _loop_param(name: str) -> Any:
    absent = name == "uvloop" and uvloop is None
    return pytest.param(name, marks=pytest.mark.skipif(absent, reason="uvloop is not importable here"))


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    return uvloop.new_event_loop if name == "uvloop" else asyncio.new_event_loop


# -- one run ----------------------------------------------------------------------------------------------------------


def _run(test: AsyncTest, item: pytest.Function, *args: object, **kwargs: object) -> None:
    """Run one async test on a new loop: bounded, in debug mode on asyncio, checked for leaks."""
    loop_name = str(item.callspec.params["loop_name"])
    timeout_marker = item.get_closest_marker("async_timeout")
    seconds: float = timeout_marker.args[0] if timeout_marker else TEST_TIMEOUT
    may_leak = item.get_closest_marker("allow_leaks") is not None

    async def bounded() -> None:
        unhandled: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        # A busy machine makes any callback slow, and a test that counts warnings fail.
        asyncio.get_running_loop().slow_callback_duration = seconds
        before = Belongings.now(loop_name)
        await _within(seconds, test(*args, **kwargs))
        if not may_leak:
            await _fail_on_leaks(before, loop_name)
        if unhandled:
            told = "\n  ".join(f"{context['message']}: {context.get('exception')!r}" for context in unhandled)
            pytest.fail(f"reached the loop's exception handler:\n  {told}")

    # uvloop's own debug mode only warns of slow callbacks, at the price of a traceback for every handle.
    with asyncio.Runner(debug=loop_name == "asyncio", loop_factory=_loop_factory(loop_name)) as runner:
        runner.run(bounded())


def _record_one_line_of_each_stack() -> None:
    """Let debug mode keep one line of where each handle, future, task and coroutine was made.

    Whole stacks took half of a test's time. The loop's C code holds the function itself: only its body can be replaced.
    """
    traceback.extract_stack.__code__ = _extract_stack.__code__
    asyncio.format_helpers.extract_stack = traceback.extract_stack  # type: ignore[attr-defined]  # has no types
    asyncio.constants.DEBUG_STACK_DEPTH = 1  # type: ignore[attr-defined]  # of a coroutine's origin


def _extract_stack(f: FrameType | None = None, limit: int | None = None) -> traceback.StackSummary:
    """Be the body of ``traceback.extract_stack``, whose globals it sees: the file of the line is not looked at."""
    f = f or sys._getframe().f_back
    assert f is not None, "a caller"
    code = f.f_code
    summary: traceback.StackSummary = StackSummary(  # type: ignore[name-defined]  # noqa: F821
        (FrameSummary(code.co_filename, f.f_lineno, code.co_name, lookup_line=False),)  # type: ignore[name-defined]  # noqa: F821
    )
    return summary


async def _within(seconds: float, test: Awaitable[object]) -> None:
    bound = asyncio.timeout(seconds)
    try:
        async with bound:
            await test
    except TimeoutError as exc:
        if not bound.expired():
            raise
        # The chained traceback shows where the test was waiting.
        raise AssertionError(f"the test did not end within {seconds:g} s (marker: async_timeout)") from exc


# -- leaks ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Belongings:
    """What this process holds at one moment: tasks, open descriptors, direct children."""

    tasks: frozenset[asyncio.Task[Any]]
    descriptors: frozenset[str]
    children: frozenset[str]

    @classmethod
    def now(cls, loop_name: str) -> Belongings:
        """Look around; where there is no /proc, descriptors and children go unseen."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        return cls(frozenset(tasks), frozenset(_open_descriptors(loop_name)), frozenset(_child_processes()))

    def beyond(self, before: Belongings) -> list[str]:
        """Describe what is here now and was not before."""
        return [
            *(f"task {task!r}" for task in self.tasks - before.tasks),
            *(f"descriptor {descriptor}" for descriptor in self.descriptors - before.descriptors),
            *(f"child process {child} {_command_of(child)}" for child in self.children - before.children),
        ]


async def _fail_on_leaks(before: Belongings, loop_name: str) -> None:
    deadline = asyncio.get_running_loop().time() + LEAK_GRACE
    while leaks := Belongings.now(loop_name).beyond(before):
        if asyncio.get_running_loop().time() > deadline:
            pytest.fail("left behind:\n  " + "\n  ".join(sorted(leaks)))
        await asyncio.sleep(0.01)


def _open_descriptors(loop_name: str) -> list[str]:
    """List open descriptors as `7 -> socket:[4711]`, without those that interpreter and loop open when they like."""
    lazily_opened = {"/dev/urandom"}
    if loop_name == "uvloop":
        lazily_opened.add("/dev/null")  # libuv's reserve against EMFILE, held from the first listen to the loop's end
    found = []
    for descriptor in os.listdir("/proc/self/fd") if sys.platform == "linux" else ():
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}").removesuffix(" (deleted)")
        except OSError:  # the one this listing itself used
            continue
        if target not in lazily_opened:
            found.append(f"{descriptor} -> {target}")
    return found


def _child_processes() -> list[str]:
    """List direct children, zombies too, by process id."""
    try:  # 0.1 ms, where a look at every process of the machine takes 3 ms, some ten thousand times
        tasks = os.listdir("/proc/self/task")
        found = [child for task in tasks for child in _contents(f"/proc/self/task/{task}/children").split()]
        return [child.decode() for child in found if not warm_start.is_own(int(child))]
    except OSError:  # a thread that ended meanwhile, or a kernel without these files
        return _children_among_all()


def _contents(path: str) -> bytes:
    """Read a short file of the kernel's without what makes `open` four times as slow."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 65536)
    finally:
        os.close(descriptor)


def _children_among_all() -> list[str]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat") if sys.platform == "linux" else ():
        try:
            text = status.read_text()
        except OSError:  # gone since the listing
            continue
        head, _, rest = text.rpartition(")")  # the name may hold anything, brackets too
        parent = rest.split()[1]
        if int(parent) == os.getpid():
            found.append(head.partition(" ")[0])
    return found


def _command_of(process: str) -> str:
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "(gone)"
    return b" ".join(words).decode(errors="replace").strip() or "(zombie)"
