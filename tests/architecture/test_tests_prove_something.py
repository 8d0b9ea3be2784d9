"""A test whose assertions may never be reached passes whatever the program does.

The rule: one assertion at least stands where it must be reached: outside of `contextlib.suppress`, and in loops and
`all(…)` only over what visibly holds something: a literal, a constant, `range(3)`, `zip(…, strict=True)`, and what is
made of these.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
#: Calls that hand on what they are given, one for one.
_PASSES_ON = {"enumerate", "sorted", "reversed", "list", "tuple", "set", "dict", "items", "values", "keys"}
_Names = dict[str, ast.expr]


def _assigned(statements: list[ast.stmt]) -> _Names:
    """Names that statements give a value to, once."""
    found: list[tuple[str, ast.expr]] = []
    for node in (n for statement in statements for n in ast.walk(statement)):
        match node:
            case ast.Assign(targets=[ast.Name(name)], value=value) | ast.AnnAssign(target=ast.Name(name), value=value):
                found += [(name, value)] if value is not None else []
            case ast.AugAssign(target=ast.Name(name), value=value) | ast.NamedExpr(target=ast.Name(name), value=value):
                found.append((name, value))
    names = [name for name, _ in found]
    return {name: value for name, value in found if names.count(name) == 1}


def holds_something(node: ast.expr, names: _Names) -> bool:
    """Whether what is looped over is visibly not empty; `names`: values of local names and constants."""
    match node:
        case ast.Tuple(parts) | ast.List(parts) | ast.Set(parts):
            return any(not isinstance(part, ast.Starred) or holds_something(part.value, names) for part in parts)
        case ast.Dict(keys, values):
            return any(key or holds_something(value, names) for key, value in zip(keys, values, strict=True))
        case ast.Name(name):
            return name in names and holds_something(names[name], {k: v for k, v in names.items() if k != name})
        case ast.Call(ast.Name("range"), bounds):
            return _counts(bounds, names)
        case ast.Call(ast.Name("zip"), parts, keywords):
            return any(k.arg == "strict" for k in keywords) or all(holds_something(p, names) for p in parts)
        case ast.Call(ast.Name(name), [part, *_]) if name in _PASSES_ON:
            return holds_something(part, names)
        case ast.Call(ast.Attribute(part, name)) if name in _PASSES_ON:
            return holds_something(part, names)
        case ast.ListComp(_, parts) | ast.GeneratorExp(_, parts) | ast.SetComp(_, parts):
            return all(not part.ifs and holds_something(part.iter, names) for part in parts)
        case ast.BinOp(left, ast.Add() | ast.BitOr(), right):
            return holds_something(left, names) or holds_something(right, names)
    return False


def _counts(bounds: list[ast.expr], names: _Names) -> bool:
    """Whether ``range(*bounds)`` of numbers and constants is not empty."""
    plain = [names.get(b.id, b) if isinstance(b, ast.Name) else b for b in bounds]
    try:
        return len(range(*map(ast.literal_eval, plain))) > 0
    except (ValueError, TypeError):
        return len(bounds) == 1 and isinstance(bounds[0], ast.Name) and bounds[0].id.isupper()  # an imported number


def _asserts(node: ast.AST) -> bool:
    """Whether a node is an assertion: the statement, `pytest.raises` and the like, a function that is called so."""
    if not isinstance(node, ast.Call):
        return isinstance(node, ast.Assert)
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    return name in {"raises", "warns", "fail"} or "assert" in name or name.startswith("check")


def _assertions(node: ast.AST, names: _Names, reached: bool = True) -> Iterator[bool]:
    """For each assertion of a function, whether it must be reached."""
    for child in ast.iter_child_nodes(node):
        here = reached
        match child:
            case ast.FunctionDef() | ast.Lambda() | ast.ClassDef():
                continue
            case ast.For(iter=several):
                here = reached and holds_something(several, names)
            case ast.Assert(test=ast.Call(ast.Name("all"), [several])):
                here = reached and holds_something(several, names)
            case ast.While():
                here = False
            case ast.With(items=items) if any("suppress" in ast.unparse(item.context_expr) for item in items):
                here = False
        if _asserts(child):
            yield here
        yield from _assertions(child, names, here)


def unproved(source: str) -> list[str]:
    """Tests of a file none of whose assertions must be reached, as ``line name``."""
    tree = ast.parse(source)
    constants = _assigned([s for s in tree.body if isinstance(s, ast.Assign | ast.AnnAssign)])
    tests = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")]
    reached = {test: list(_assertions(test, constants | _assigned(test.body))) for test in tests}
    return [f"{test.lineno} {test.name}" for test, found in reached.items() if found and not any(found)]


def test_every_test_reaches_an_assertion() -> None:
    files = sorted(TESTS.rglob("test_*.py"))
    assert len(files) > 100
    found = {str(p.relative_to(TESTS)): tests for p in files if (tests := unproved(p.read_text("utf-8")))}
    assert not found, "assert how often the loop runs, loop over a literal, zip(…, strict=True), or use parametrize"


@pytest.mark.parametrize(
    "body",
    [
        "for x in found():\n        assert x",
        "while some():\n        assert True",
        "for x in (1, 2):\n        for y in x:\n            assert y",
        "for x in []:\n        assert x",
        "assert all(x > 1 for x in found())",
        "for x in range(0):\n        assert x",
        "for x in [y for y in (1, 2) if y > 3]:\n        assert x",
        "for x in found():\n        with pytest.raises(ValueError):\n            x()",
        "with suppress(ValueError):\n        assert read()",
        "files = folder.glob('*')\n    for x in files:\n        assert x",
        "some = ()\n    for x in (*some,):\n        assert x",
    ],
)
def test_what_is_refused(body: str) -> None:
    assert unproved(f"def test_it():\n    {body}\n") == ["1 test_it"]


@pytest.mark.parametrize(
    "body",
    [
        "assert found()",
        "assert all(x > 1 for x in (2, 3))",
        "for x in found():\n        assert x\n    assert found()",
        "for x in (1, 2):\n        assert x",
        "for x in range(3):\n        assert x",
        "for x in range(1, MANY):\n        assert x",
        "for x, y in zip(a(), b(), strict=True):\n        assert x == y",
        "for x, y in {1: 2}.items():\n        assert x == y",
        "some = [1, 2]\n    for x in sorted(some):\n        assert x",
        "for x in KNOWN:\n        with pytest.raises(ValueError):\n            x()",
        "for x in (*found(), 1):\n        assert x",
        "pass",
    ],
)
def test_what_is_fair(body: str) -> None:
    assert not unproved(f"MANY = 4\nKNOWN = (1, 2)\ndef test_it():\n    {body}\n")
