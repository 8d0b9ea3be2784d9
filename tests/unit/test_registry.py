"""Options read from signatures, and plug-ins that collide or cannot be imported."""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from plug_ins import plugged
from semiovs.cli.app import main
from semiovs.config import load_config
from semiovs.errors import SemiovsWarning, UsageError
from semiovs.models import build_segmenter
from semiovs.registry import DATASETS, METHODS, SEGMENTERS, TEACHERS, Option, lookup, signature
from semiovs.registry.signature import load_target, options_of

ROWS = [entry for table in (METHODS, SEGMENTERS, TEACHERS, DATASETS) for entry in table.values()]


@pytest.mark.parametrize("target", [*(entry.target for entry in ROWS), "semiovs.ovs.multi_view:ViewOptions"])
def test_the_source_says_what_the_imported_class_does(target, monkeypatch):
    """Rows are read from source files; importing the class gives the same names, defaults and types."""
    parsed = options_of(target)
    monkeypatch.setattr(signature, "_parsed", lambda target: signature._inspected(load_target(target)))
    inspected = options_of.__wrapped__(target)
    own = {name: option for name, option in inspected.items() if option != parsed.get(name)}
    assert list(parsed) == list(inspected)
    assert not own


def test_rows_have_options():
    assert all(entry.options for table in (METHODS, SEGMENTERS, TEACHERS) for entry in table.values())
    assert not any(entry.options for entry in DATASETS.values())
    assert all(option.type is not Any for entry in ROWS for option in entry.options.values())
    assert TEACHERS["sed"].defaults["scales"] == (1.0,)
    assert "tile" not in TEACHERS["masks"].options
    assert SEGMENTERS["semivl"].defaults["templates"] == ("a photo of a {}",)
    assert METHODS["prevmatch"].options["prev_every"] == Option(None, int | None)


@pytest.mark.parametrize(
    ("kind", "default", "good", "bad", "expected"),
    [
        (bool, False, [True], [0, "yes"], "true or false"),
        (int, 3, [3], [3.0, True, "3"], "an integer"),
        (float, 0.5, [1, 0.5], [True, "a"], "a number"),
        (float | None, None, [0.5, None], ["a"], "a number"),
        (typing.Optional[int], None, [3, None], ["a"], "an integer"),  # noqa: UP045 - as plug-ins may write it
        (str, "", ["a"], [1, ["a"]], "text"),
        (str | Path | None, None, ["a", Path("a")], [1], "text"),
        (Literal["a", "b"], "a", ["a"], ["c", 1], "'a' or 'b'"),
        (Sequence[int], (6, 12), [[1], (2, 3), []], [6, "6", [1.5]], "a list like [6, 12]"),
        (Sequence[float] | None, None, [[1, 2.5]], [["a"]], "a list like [1.0]"),
        (tuple[str, ...], (), [["a"]], [[1]], "a list like ['…']"),
        (float | Sequence[float], 0.5, [1, [1]], ["a", ["a"]], "a number or a list like [1.0]"),
        (Mapping[str, int] | None, None, [{"a": 1}], [["a"]], "keys with values"),
        (Any, None, ["a", 1, [2]], [], ""),
        (Path | list, None, ["a", [1]], [1], "text or a list like ['…']"),
        (set[int], None, ["a", {1}], [], ""),
    ],
)
def test_types_of_options(kind, default, good, bad, expected):
    option = Option(default, kind)
    assert [option.expected(value) for value in good] == [None] * len(good)
    assert [option.expected(value) for value in bad] == [expected] * len(bad)


class Base:
    """A base class of a plug-in."""

    def __init__(self, segmenter, *, num_classes: int, depth: int = 2, name: Unknown = "a") -> None:  # noqa: F821
        """Keep nothing."""


class Open(Base):
    def __init__(self, *args, width: float = 1.0, required, **options) -> None:
        super().__init__(*args, **options)


class Heir(Open):
    pass


class Closed(Base):
    def __init__(self, width: int = 1) -> None:
        super().__init__(None, num_classes=2)


def builder(num_classes: int, *, size: int = 3):
    """A function is a target too."""


@pytest.mark.parametrize(
    ("target", "defaults"),
    [
        (Open, {"width": 1.0, "required": None, "depth": 2, "name": "a"}),
        (Heir, {"width": 1.0, "required": None, "depth": 2, "name": "a"}),
        (Closed, {"width": 1}),
        (builder, {"size": 3}),
    ],
)
def test_base_classes_are_followed_while_options_are_handed_on(monkeypatch, target, defaults):
    monkeypatch.setattr(signature, "load_target", lambda _: target)
    found = options_of.__wrapped__("a_plug_in:Target")
    assert {name: option.default for name, option in found.items()} == defaults
    types = {"width": float if target is not Closed else int, "depth": int, "size": int, "name": Any, "required": Any}
    assert all(
        option.type == types[name] for name, option in found.items()
    )  # a name for type checkers alone hides no other


def package(site: Path, name: str, group: str, **points: str) -> None:
    """What pip leaves of a package: its metadata (and here a module that cannot be imported)."""
    folder = site / f"{name.replace('-', '_')}-2.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0\n")
    lines = [f"{key.replace('_', '-')} = {value}\n" for key, value in points.items()]
    (folder / "entry_points.txt").write_text(f"[{group}]\n{''.join(lines)}")


WIDE = '''
"""A segmenter of another package."""

from __future__ import annotations

from semiovs.models.decoders.deeplabv3plus import DeepLabV3Plus


class Wide(DeepLabV3Plus):
    """DeepLabV3+ with twice the channels."""

    def __init__(self, num_classes: int, *, double: bool = True, **options) -> None:
        channels = options.pop("channels", 8)
        super().__init__(num_classes, channels=channels * 2 if double else channels, **options)
'''


def test_a_segmenter_is_built_and_configured_by_its_name(tmp_path):
    package(tmp_path, "wide", "semiovs.segmenters", wide="wide_deeplab:Wide")
    (tmp_path / "wide_deeplab.py").write_text(WIDE)
    with plugged(tmp_path):
        assert SEGMENTERS["wide"].summary == "DeepLabV3+ with twice the channels."
        assert build_segmenter("wide", num_classes=3, encoder="tiny", channels=8).classifier.in_channels == 16
        model = load_config(None, ["model=wide", "model.encoder=tiny"]).config.model
        assert (model.options["double"], model.options["output_stride"]) == (True, 16)
        with pytest.raises(
            UsageError, match=r"config: model\.double: expected true or false, got 2 on the command line"
        ):
            load_config(None, ["model=wide", "model.double=2"])
        with pytest.raises(UsageError, match=r"segmenter 'wide' has no option 'dubble'.*did you mean 'double'"):
            build_segmenter("wide", num_classes=3, dubble=True)


@pytest.fixture
def broken(tmp_path):
    package(tmp_path, "broken", "semiovs.methods", lacks_something="broken_method:Method", no_module="not_there:Method")
    (tmp_path / "broken_method.py").write_text("import something_that_is_not_installed\n")
    with plugged(tmp_path):
        yield


def test_a_plug_in_that_cannot_be_imported_is_one_clear_line(broken):
    message = (
        "method 'lacks-something' of broken 2.0 (entry point broken_method:Method) cannot be imported: "
        "ModuleNotFoundError: No module named 'something_that_is_not_installed'; install what it lacks, or uninstall the package"
    )
    with pytest.raises(UsageError) as raised:
        lookup(METHODS, "lacks-something", kind="method")
    assert str(raised.value) == message
    with pytest.raises(UsageError) as raised:
        load_config(None, ["method=lacks-something"])
    assert message in str(raised.value)


def test_a_broken_plug_in_breaks_no_other_name(broken, capsys):
    assert load_config(None, ["method=fixmatch"]).config.method.name == "fixmatch"
    with pytest.raises(UsageError, match="did you mean 'fixmatch'"):
        load_config(None, ["method=fixmach"])
    assert main(["list", "methods", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["unimatch"]["options"]["conf_thresh"] == 0.95
    assert rows["lacks-something"]["package"] == "broken 2.0"
    assert "something_that_is_not_installed" in rows["lacks-something"]["problem"]
    assert "not_there" in rows["no-module"]["problem"]
    assert main(["list", "methods"]) == 0
    assert "entry point not_there:Method" in capsys.readouterr().out


def test_two_packages_with_one_name(tmp_path):
    package(tmp_path, "first", "semiovs.teachers", owl="first:Owl")
    package(tmp_path, "second", "semiovs.teachers", owl="second:Owl")
    with plugged(tmp_path), pytest.raises(UsageError) as raised:
        lookup(TEACHERS, "owl", kind="teacher")
    said = str(raised.value)
    assert said.startswith("teacher 'owl' is offered by ")
    assert "first 2.0" in said
    assert "second 2.0" in said


def test_a_name_of_semiovs_itself_stays_its_own(tmp_path, monkeypatch):
    package(tmp_path, "greedy", "semiovs.methods", unimatch="greedy:Method")
    monkeypatch.setattr(METHODS, "_warned", set())
    with plugged(tmp_path):
        with pytest.warns(SemiovsWarning, match=r"method 'unimatch' of greedy 2\.0 is ignored: semiovs has a method"):
            assert METHODS["unimatch"].target == "semiovs.methods.unimatch:UniMatch"
        assert list(METHODS).count("unimatch") == 1  # and the warning comes once
