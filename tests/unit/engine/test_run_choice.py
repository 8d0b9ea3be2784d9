"""Which run a restarted launch, or a command that is repeated, goes on with."""

from __future__ import annotations

import json

import pytest
import torch

from semiovs.config import load_config
from semiovs.engine.distributed import World, identify_launch
from semiovs.engine.run import Run
from semiovs.engine.run_choice import choose_run, find_begun_run
from semiovs.errors import ConfigError, UsageError

WORLD = World(torch.device("cpu"))


@pytest.fixture
def config(tmp_path):
    return load_config(None, ["method=supervised", f"run.dir={tmp_path / 'run'}"]).config


@pytest.fixture
def restarted(monkeypatch):
    """As if torchrun had begun this process again."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")


def test_without_a_restart_or_a_wish_every_run_is_new(config, tmp_path):
    Run.create(tmp_path / "run", "", ["test"])
    assert find_begun_run(config, WORLD) is None
    assert choose_run(config, WORLD).directory == tmp_path / "run"


def test_a_repeated_command_goes_on_with_whatever_lies_there(config, tmp_path):
    assert find_begun_run(config, WORLD, go_on=True) is None
    Run.create(tmp_path / "run", "", ["test"], launch="of another time")
    found = find_begun_run(config, WORLD, go_on=True)
    assert found is not None
    assert found.directory == (tmp_path / "run").resolve()


def test_a_repeated_command_must_know_its_run():
    with pytest.raises(ConfigError, match="--resume has to know which run"):
        find_begun_run(load_config(None, ["method=supervised"]).config, WORLD, go_on=True)


@pytest.mark.usefixtures("restarted")
def test_a_restart_goes_on_with_the_run_of_its_launch(config, tmp_path):
    Run.create(tmp_path / "run", "", ["test"], launch=identify_launch())
    assert find_begun_run(config, WORLD) is not None
    (tmp_path / "run" / "env.json").unlink()  # killed right after the configuration was written
    assert find_begun_run(config, WORLD) is not None


@pytest.mark.usefixtures("restarted")
@pytest.mark.parametrize("environment", [{}, {"launch": "another"}, [], None], ids=str)
def test_a_restart_leaves_the_run_of_another_launch_alone(config, tmp_path, environment):
    run = Run.create(tmp_path / "run", "", ["test"])
    text = "{" if environment is None else json.dumps(environment)
    (tmp_path / "run" / "env.json").write_text(text)
    assert find_begun_run(config, WORLD) is None
    with pytest.raises(UsageError, match="holds a run already"):
        run.check_free()


def test_a_launch_keeps_its_name_and_has_none_without_torchrun():
    assert identify_launch({}) is None
    one, again, other = (identify_launch({"TORCHELASTIC_RUN_ID": name}) for name in "aab")
    assert one == again != other
