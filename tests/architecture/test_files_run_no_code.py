"""No file that is read can run code: weights are tensors alone, arrays are numbers alone, YAML is plain data."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "semiovs"
SOURCES = sorted(PACKAGE.rglob("*.py"))
#: (file, call) that are no reading of foreign files: a batch on its way from a loader process of ours; annotations of
#: the source of methods and plug-ins, which is installed code; PyYAML's safe loader, in C where there is one.
OURS = {
    ("data/workers.py", "pickle.loads"),
    ("registry/signature.py", "eval"),
    ("registry/signature.py", "compile"),
    ("datasets/splits.py", "yaml.load"),
}
#: Names of modules whose readers make objects of any class.
_PICKLES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
_READERS = {"load", "loads", "Unpickler", "open"}
_UNSAFE_YAML = {"unsafe_load", "unsafe_load_all", "full_load", "full_load_all", "UnsafeLoader", "FullLoader", "Loader"}


def _name(node: ast.expr) -> str:
    """A dotted name, or ""."""
    if isinstance(node, ast.Attribute):
        before = _name(node.value)
        return f"{before}.{node.attr}" if before else ""
    return node.id if isinstance(node, ast.Name) else ""


def _value(call: ast.Call, keyword: str) -> object:
    """A constant that is handed to a keyword; None if it is not given, "?" if it is no constant."""
    given = next((each.value for each in call.keywords if each.arg == keyword), None)
    return given.value if isinstance(given, ast.Constant) else None if given is None else "?"


def _judge_call(call: ast.Call) -> str:
    """What is wrong with a call, or ""."""
    name = _name(call.func)
    if name == "torch.load" and _value(call, "weights_only") is not True:
        return f"{name} without weights_only=True"
    if name in ("torch.jit.load", "torch.package.PackageImporter"):
        return name
    if _value(call, "allow_pickle") not in (None, False):
        return f"{name}: allow_pickle"
    if _value(call, "trust_remote_code") not in (None, False):
        return f"{name}: trust_remote_code"
    if name in ("eval", "exec", "compile", "yaml.load", "yaml.load_all"):
        safe = any(_name(each.value) == "yaml.SafeLoader" for each in call.keywords if each.arg == "Loader")
        return "" if safe else name
    return ""


def find_unsafe(tree: ast.AST) -> list[str]:
    """Calls and names that may run code of a file."""
    found = [_judge_call(node) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            module, _, last = _name(node).rpartition(".")
            found.append(_name(node) if module in _PICKLES and last in _READERS else "")
            found.append(_name(node) if module == "yaml" and last in _UNSAFE_YAML else "")
        if isinstance(node, ast.ImportFrom) and node.module in {*_PICKLES, "torch", "numpy", "yaml"}:
            found += [f"{node.module}.{a.name}" for a in node.names if a.name in _READERS | _UNSAFE_YAML]
    return [each for each in found if each]


def test_nothing_that_is_read_can_run_code() -> None:
    told = {(path.relative_to(PACKAGE).as_posix(), wrong) for path in SOURCES for wrong in find_unsafe(_parse(path))}
    assert told == OURS


def _parse(path: Path) -> ast.AST:
    return ast.parse(path.read_text("utf-8"))


def test_the_readers_of_weights_and_arrays_are_seen() -> None:
    """The rule looks at the calls that there are."""
    names = [_name(n.func) for p in SOURCES for n in ast.walk(_parse(p)) if isinstance(n, ast.Call)]
    assert "torch.load" in names
    assert "np.load" in names


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "np.load(path, allow_pickle=True)",
        "npy.read_array(file, allow_pickle=flag)",
        "pickle.load(file)",
        "pickle.loads",
        "from pickle import loads",
        "from torch import load",
        "pickle.Unpickler(file)",
        "joblib.load(path)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.FullLoader)",
        "yaml.unsafe_load(text)",
        "eval(text)",
        "Model.from_pretrained(name, trust_remote_code=True)",
        "torch.jit.load(path)",
    ],
)
def test_what_may_run_code_is_refused(line: str) -> None:
    assert find_unsafe(ast.parse(line))


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path, weights_only=True)",
        "np.load(path)",
        "np.load(path, allow_pickle=False)",
        "yaml.safe_load(text)",
        "yaml.load(text, Loader=yaml.SafeLoader)",
        "json.load(file)",
        "model.eval()",
        "re.compile(text)",
        "except pickle.UnpicklingError: pass".replace("except", "try: pass\nexcept"),
    ],
)
def test_what_cannot_is_allowed(line: str) -> None:
    assert not find_unsafe(ast.parse(line))
