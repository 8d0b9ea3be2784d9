"""Read the options of a class or function from its typed signature: name, default and type.

Classes of semiovs are read from their source, so that no configuration or listing has to import torch; anything
else is imported and inspected.
"""

from __future__ import annotations

import ast
import inspect
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module, resources
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from semiovs.registry.option import Option

#: Arguments that the builders pass themselves (`build_method`, `build_segmenter`, the data of a data set, the run of a
#: logger): no options.
PASSED = frozenset({"self", "segmenter", "num_classes", "ood", "pretrained", "data", "lists", "run"})

#: Teachers of this class also have the options of `_VIEWS`, which `build_ovs` takes care of.
_MAPPED, _VIEWS = "semiovs.ovs.mapped:MappedModel", "semiovs.ovs.multi_view:ViewOptions"

#: Names that annotations of options are made of, beside Python's own.
_TYPES = {"Any": Any, "Sequence": Sequence, "Mapping": Mapping, "Literal": Literal, "Path": Path, "ClassVar": ClassVar}


@dataclass(frozen=True)
class _SignatureLevel:
    """The options of one class of a hierarchy; open: further ones (``**options``) go to its base class."""

    target: str
    keywords: Mapping[str, Option]
    open: bool


def load_target(target: str) -> Any:
    """Import ``package.module:Name`` and return what it names."""
    module, _, attribute = target.partition(":")
    return attrgetter(attribute)(import_module(module))


@cache
def read_options(target: str) -> Mapping[str, Option]:
    """Read the options of ``package.module:Name``; base classes are included while ``**options`` is passed on."""
    levels = list(_parse_levels(target) if target.startswith("semiovs.") else _inspect_levels(load_target(target)))
    found: dict[str, Option] = {}
    for level in levels:
        found |= {name: option for name, option in level.keywords.items() if name not in {*found, *PASSED}}
        if not level.open:
            break
    if any(level.target == _MAPPED for level in levels):
        found |= read_options(_VIEWS)
    return MappingProxyType(found)


def _inspect_levels(target: Any) -> Iterator[_SignatureLevel]:
    """The levels of an imported class or function."""
    for owner in inspect.getmro(target) if isinstance(target, type) else (target,):
        name = f"{owner.__module__}:{owner.__qualname__}"
        if isinstance(owner, type) and "__init__" not in vars(owner):
            yield _SignatureLevel(name, {}, open=True)
            continue
        call = vars(owner)["__init__"] if isinstance(owner, type) else owner
        parameters = inspect.signature(call).parameters.values()
        known = getattr(inspect.unwrap(call), "__globals__", {})
        taken = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        keywords = {p.name: Option(_read_default(p), _resolve_annotation(p.annotation, known)) for p in taken}
        yield _SignatureLevel(name, keywords, open=any(p.kind is p.VAR_KEYWORD for p in parameters))


def _resolve_annotation(annotation: Any, known: dict[str, Any]) -> Any:
    """Resolve an annotation to a type; Any if there is none, or if its name is imported for type checkers only."""
    if not isinstance(annotation, str):
        return Any if annotation is inspect.Parameter.empty else annotation
    try:
        return eval(annotation, known)
    except (NameError, TypeError, AttributeError, SyntaxError):
        return Any


def _read_default(parameter: inspect.Parameter) -> Any:
    return None if parameter.default is parameter.empty else parameter.default


def _parse_levels(target: str) -> Iterator[_SignatureLevel]:
    """The levels of a class or function of semiovs, from its source."""
    module, _, name = target.partition(":")
    module, node = _find_definition(module, name)
    if isinstance(node, ast.FunctionDef):
        yield _parse_level(f"{module}:{name}", module, node.args)
    if not isinstance(node, ast.ClassDef):
        return
    init = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if init is not None:
        yield _parse_level(f"{module}:{name}", module, init.args)
    else:
        fields = _parse_fields(node, module) if node.decorator_list else {}
        yield _SignatureLevel(f"{module}:{name}", fields, open=not fields)
    for base in node.bases:
        if isinstance(base, ast.Name) and (home := _find_module(module, base.id)) is not None:
            yield from _parse_levels(f"{home}:{base.id}")


def _parse_level(target: str, module: str, arguments: ast.arguments) -> _SignatureLevel:
    by_place = [*arguments.posonlyargs, *arguments.args]
    without = [None] * (len(by_place) - len(arguments.defaults))
    defaults = [*without, *arguments.defaults, *arguments.kw_defaults]
    pairs = zip([*by_place, *arguments.kwonlyargs], defaults, strict=True)
    keywords = {a.arg: Option(_parse_default(default, module), _parse_type(a.annotation)) for a, default in pairs}
    return _SignatureLevel(target, keywords, open=arguments.kwarg is not None)


def _parse_fields(node: ast.ClassDef, module: str) -> dict[str, Option]:
    """Fields of a dataclass."""
    found = {}
    for field in node.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and field.target.id not in PASSED:
            kind = _parse_type(field.annotation)
            if typing.get_origin(kind) is not ClassVar:
                found[field.target.id] = Option(_parse_default(field.value, module), kind)
    return found


def _parse_type(annotation: ast.expr | None) -> Any:
    if annotation is None:
        return Any
    try:
        return eval(compile(ast.Expression(annotation), "<annotation>", "eval"), dict(_TYPES))
    except (NameError, TypeError):
        return Any


def _parse_default(default: ast.expr | None, module: str) -> Any:
    """Evaluate a default: a literal or a constant of the module; None where there is no default."""
    if default is None:
        return None
    if not isinstance(default, ast.Name):
        return ast.literal_eval(default)
    home, node = _find_definition(module, default.id)
    if not isinstance(node, ast.Assign | ast.AnnAssign):
        raise TypeError(f"{module}: the default {default.id} of an option must be a literal or a constant")
    return _parse_default(node.value, home)


def _find_definition(module: str, name: str) -> tuple[str, ast.stmt | None]:
    """Find the module and statement that define `name`; imports are followed."""
    home = _find_module(module, name) or module
    for node in _parse_module(home).body:
        names = [node.name] if isinstance(node, ast.ClassDef | ast.FunctionDef) else list(_assigned_names(node))
        if name in names:
            return home, node
    return home, None


def _find_module(module: str, name: str) -> str | None:
    """The module of semiovs that defines `name`, which `module` defines or imports; None if it is from elsewhere."""
    for node in _parse_module(module).body:
        if isinstance(node, ast.ImportFrom) and name in {alias.asname or alias.name for alias in node.names}:
            inside = (node.module or "").startswith("semiovs.")
            return _find_module(node.module or "", name) if inside else None
    return module


def _assigned_names(node: ast.stmt) -> Iterable[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return (target.id for target in targets if isinstance(target, ast.Name))


@cache
def _parse_module(module: str) -> ast.Module:
    root = resources.files("semiovs")
    path = root.joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.parent / f"{path.name}.py"  # type: ignore[attr-defined]
    return ast.parse(file.read_text("utf-8"))
