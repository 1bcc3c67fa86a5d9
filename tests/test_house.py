"""Checks the dependencies between the engine's modules, their length, and how often types say ``Any``."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_ENGINE = _ROOT / "engine"

#: A module may import from packages of its own level and below, never from above.
_LEVELS = (
    (
        "errors",
        "redaction",
        "http_fetch",
        "confinement",
        "left_overs",
        "suggestions",
        "values",
        "declare",
        "options",
        "card_hints",
    ),
    ("pixels",),
    ("styles", "frame", "trusted_files"),
    ("backends", "gpu", "io", "files", "render"),
    ("run", "parity"),
    ("jobs", "server", "api"),
    ("cli",),
)
_MAX_LINES = 420
#: Lines that use ``Any``, where mypy checks nothing; most are for libraries without types. Never raise a number.
_MAX_ANY_LINES = {"engine": 37, "trainer": 17}


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted((_ENGINE / "animevid").rglob("*.py")):
        name = ".".join(path.relative_to(_ENGINE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def running_code(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below ``node``, except code for type checkers only."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from running_code(child)


def imports(known: dict[str, Path]) -> dict[str, set[str]]:
    """For each module, the modules that it imports, at its top or inside a function."""
    graph = {}
    for module, path in known.items():
        found = set()
        for node in running_code(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                found |= {name if (name := f"{node.module}.{a.name}") in known else node.module for a in node.names}
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
        graph[module] = {name for name in found if name in known and name != module}
    return graph


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or indirectly."""

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for name in graph[waiting.pop()] - seen:
                seen.add(name)
                waiting.append(name)
        return seen

    reach = {module: reachable(module) for module in graph}
    groups = {tuple(sorted(other for other in reach[m] if m in reach[other])) for m in graph if m in reach[m]}
    return [list(group) for group in sorted(groups)]


def test_a_circle_is_found_through_other_modules():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_no_modules_import_each_other():
    graph = imports(modules())
    assert len(graph) > 100
    assert circles(graph) == []


def test_imports_point_down():
    level = {room: number for number, rooms in enumerate(_LEVELS) for room in rooms}

    def room(module: str) -> str:
        return module.split(".")[1] if "." in module else ""

    upward = {
        (module, other)
        for module, others in imports(modules()).items()
        for other in others
        if room(module) in level and room(other) in level and level[room(other)] > level[room(module)]
    }
    assert upward == set()
    rooms = {room(module) for module in modules()} - {"", "__main__"}
    assert rooms <= set(level), "a new room needs a level"


def test_modules_are_short():
    for path in modules().values():
        name = path.relative_to(_ENGINE / "animevid").as_posix()
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= _MAX_LINES, f"{name} has {lines} lines: split it, one concept a module"


def any_lines(source: str) -> set[int]:
    """The lines whose code uses ``Any``, without imports."""
    return {node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name) and node.id == "Any"}


def test_uses_of_any_are_counted_but_not_words_or_imports():
    assert any_lines('from typing import Any\n"""Any word."""\na: dict[str, Any] = {"Any": 1}\nb = 1  # Any\n') == {3}


def test_types_seldom_say_any():
    for package, most in _MAX_ANY_LINES.items():
        found = {path: any_lines(path.read_text(encoding="utf-8")) for path in sorted((_ROOT / package).rglob("*.py"))}
        count = sum(map(len, found.values()))
        assert count <= most, f"{package} has {count} lines with Any: give the new ones a type"
