"""An option that is given twice collects or is refused: the last one never wins without a word."""

import pytest

from semiovs.cli.app import VERBS, load_verb, main
from semiovs.cli.data_split import _parse_sizes
from semiovs.config.option_texts import parse_set
from semiovs.errors import UsageError


def list_options():
    """(command, option) of every option that takes a value."""

    def walk(command, path):
        if inner := getattr(command, "commands", None):
            return [leaf for name in inner for leaf in walk(inner[name], [*path, name])]
        return [
            (path, option) for option in command.params if option.param_type_name == "option" and not option.is_flag
        ]

    return [found for verb in VERBS for found in walk(load_verb(verb), [verb])]


def test_options_of_one_value_are_refused_twice(capsys):
    single = [(path, option.opts[0]) for path, option in list_options() if not option.multiple]
    assert len(single) > 80
    for path, name in single:
        assert main([*path, name, "1", name, "1"]) == 2
        assert f"error: {name} is given 2 times; it takes one value" in capsys.readouterr().err


def test_options_of_many_values_collect():
    """Whatever is a list of names or pairs may be repeated; --classes may be a file too, and is refused twice."""
    signs = ("a,b,c", "KEY=VALUE", "OPTION=VALUE", "=road", "LIST like", "1/8,1/4")
    options = list_options()
    lists = [(path, o) for path, o in options if any(sign in f"{o.metavar} {o.help}" for sign in signs)]
    assert len(lists) > 10
    assert [(path, o.opts) for path, o in lists if not o.multiple and "--classes" not in o.opts] == []
    assert [(path, o.opts) for path, o in options if o.multiple and "may be repeated" not in o.help] == []


def test_both_spellings_count_as_one(capsys):
    assert main(["data", "split", "x.yaml", "--val=1/5", "--val", "0.2"]) == 2
    assert "--val is given 2 times" in capsys.readouterr().err


def test_an_option_of_the_teacher_has_one_value():
    assert parse_set(["tile=5", "words=[a, b]", "tile=5", "template={} in the rain"]) == {
        "tile": 5,
        "words": ["a", "b"],
        "template": "{} in the rain",
    }
    with pytest.raises(UsageError, match="--set: 'tile' is given twice, as '5' and as '6'; give it once"):
        parse_set(["tile=5", "tile=6"])


def test_sizes_of_several_options():
    assert _parse_sizes(["1/8,1/4", "92"]) == {"1_8": 1 / 8, "1_4": 1 / 4, "92": 92}
