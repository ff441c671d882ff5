"""No module imports itself through others; imports in functions and under TYPE_CHECKING count, too."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import grimp


def _circles(modules: Iterable[str], imported_by: Callable[[str], Iterable[str]]) -> list[list[str]]:
    """Return the sets of modules that reach one another (Tarjan's strongly connected components)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    circles: list[list[str]] = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        path.append(module)
        for other in imported_by(module):
            if other not in order:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in path:
                lowest[module] = min(lowest[module], order[other])
        if lowest[module] == order[module]:
            at = path.index(module)
            circles.extend([sorted(path[at:])] if len(path) > at + 1 else [])
            del path[at:]

    for module in modules:
        if module not in order:
            visit(module)
    return circles


def test_circles_are_found() -> None:
    """The search finds a circle of three modules and nothing else."""
    graph = {"a": ["b"], "b": ["c"], "c": ["a", "d"], "d": ["e"], "e": []}
    assert _circles(graph, graph.__getitem__) == [["a", "b", "c"]]


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Among all modules of the relay."""
    graph = grimp.build_graph("relay", cache_dir=None)
    assert len(graph.modules) > 200
    assert _circles(sorted(graph.modules), graph.find_modules_directly_imported_by) == []
