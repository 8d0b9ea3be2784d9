"""README and docs: every printed command is one that the program takes, every Python block compiles and finds its
imports.
"""

from __future__ import annotations

import ast
import importlib
import re

import pytest

from cli.documented import (
    PAGES,
    ROOT,
    Command,
    blocks,
    commands,
    known_others,
    known_settings,
    other_commands,
    problem,
    settings,
)

COMMANDS = [command for page in PAGES for command in commands(page)]
PYTHON = [
    pytest.param(text, id=f"{page.relative_to(ROOT)}:{line}")
    for page in PAGES
    for language, text, line in blocks(page)
    if language == "python"
]


def test_commands_are_found_on_the_pages():
    verbs = {command.words[0] for command in COMMANDS}
    assert {"init", "train", "evaluate", "predict", "resume", "select", "label", "labels", "card", "splits"} <= verbs
    assert len(COMMANDS) > 120
    assert len([command for command in COMMANDS if not command.partly]) > 60


def test_every_printed_command_is_taken():
    found = {f"{c.place}: semiovs {' '.join(c.words)}": told for c in COMMANDS if (told := problem(c))}
    assert found == {}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("trian pascal/92", "no verb 'trian'"),
        ("labels mrege a b", "mrege"),
        ("label --teachr sed", "--teachr"),
        ("label --teacher sedd", "teacher 'sedd' is not known"),
        ("label --teacher clip-dense --set tiel=512", "no option 'tiel'"),
        ("calibrate my.yaml --risk much", "'--risk'"),
        ("evaluate runs/first --split test", "test"),
        ("labels merge", "Missing argument"),
        ("labels stats a b", "b"),
        ("resume", "Missing argument"),
        ("train pascal/93", "pascal/93"),
        ("train my.yaml train.step=7", "train.step"),
        ("train my.yaml train.steps=many", "train.steps"),
        ("train pascal/92 method=unimach", "unimach"),
        ("train my.yaml method.ramp=1", "ramp"),
        ("convert a.pth --to b --preset pascal/93", "pascal/93"),
        ("vocab show voc22", "voc22"),
        ("splits show pascal/93", "pascal/93"),
        ("weights pull resnet11s", "resnet11s"),
        ("data prepare vco --root DIR", "vco"),
    ],
)
def test_what_is_wrong_is_told(words, told):
    assert told in problem(Command(tuple(words.split()), "here"))


def test_a_command_that_leaves_something_out_is_let_through():
    assert problem(Command(("labels", "merge"), "here", partly=True)) == ""
    assert problem(Command(("labels", "merge", "--cpoy"), "here", partly=True)) != ""


def test_every_setting_that_is_named_exists():
    named = {f"{page.relative_to(ROOT)}: {key}": key for page in PAGES for key in settings(page)}
    known = known_settings()
    assert len(named) > 150
    assert [place for place, key in named.items() if key not in known] == []


def test_targets_scripts_modules_and_extras_that_are_named_exist():
    named = {
        f"{page.relative_to(ROOT)}: {kind} {name}": (kind, name)
        for page in PAGES
        for kind, name in other_commands(page)
    }
    known = known_others()
    assert {kind for kind, _ in named.values()} == set(known)
    assert [place for place, (kind, name) in named.items() if name not in known[kind]] == []


@pytest.mark.parametrize("text", PYTHON)
def test_python_blocks_compile_and_their_imports_resolve(text):
    tree = ast.parse(text)
    assert compile(tree, "<page>", "exec").co_names
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in (alias.name for alias in node.names if alias.name.partition(".")[0] == "semiovs"):
                importlib.import_module(name)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "semiovs":
            module = importlib.import_module(str(node.module))
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def test_python_blocks_are_found():
    assert len(PYTHON) >= 9


def test_entry_points_of_the_design_resolve():
    """A block of signatures is no program; its lines of imports are."""
    texts = [text for page in PAGES for language, text, _ in blocks(page) if language == "text"]
    lines = re.findall(r"^from (semiovs[\w.]*) import (\w+(?:, \w+)*)", "\n".join(texts), re.MULTILINE)
    assert len(lines) >= 8
    names = [(module, name) for module, several in lines for name in several.split(", ")]
    assert [pair for pair in names if not hasattr(importlib.import_module(pair[0]), pair[1])] == []
