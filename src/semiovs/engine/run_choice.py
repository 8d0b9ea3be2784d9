"""Which run directory a training writes to: a new one, or one that it goes on with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from semiovs.config.schema import Config
from semiovs.engine.distributed import World, count_restarts, identify_launch
from semiovs.engine.run import Run
from semiovs.errors import ConfigError


def choose_run(config: Config, world: World) -> Run:
    """The directory of a new run, the same on all ranks."""
    default = Run.default_directory(_choose_name(config), config.method.name, datetime.now())
    return Run(Path(world.broadcast(config.run.dir or str(default))))


def find_begun_run(config: Config, world: World, *, go_on: bool = False) -> Run | None:
    """The run to continue, the same on all ranks; None if a new one is to begin.

    After a restart by `torchrun` it is the one that this launch began; go_on: whichever lies in `run.dir`.

    Raises:
        ConfigError: `go_on` without `run.dir`.
    """
    if go_on and not config.run.dir:
        raise ConfigError("run.dir: is not set; --resume has to know which run to go on with: give run.dir=FOLDER")
    directory = None
    if (go_on or count_restarts()) and world.is_main:
        given = Path(config.run.dir) if config.run.dir else Path("runs") / _choose_name(config) / "latest"
        found = (given / "config.yaml").is_file() and (go_on or _is_of_this_launch(given))
        directory = str(given.resolve()) if found else None
    directory = world.broadcast(directory)
    return None if directory is None else Run.open(Path(directory))


def _is_of_this_launch(directory: Path) -> bool:
    """Whether a run was begun by the launch of this process, and not by an earlier one whose directory was given."""
    try:
        told = json.loads((directory / "env.json").read_text("utf-8"))
    except FileNotFoundError:  # written right after the configuration: killed between the two
        return True
    except (OSError, ValueError):
        return False
    return isinstance(told, Mapping) and told.get("launch") == identify_launch()


def _choose_name(config: Config) -> str:
    return config.run.name or "run"
