"""As much of W&B as the program calls: a run offline, whose rows go into a file of the real one's name and place."""

import json
from pathlib import Path


class Settings:
    def __init__(self, **given):
        self.given = given


class Image:
    def __init__(self, picture):
        self.size = picture.size


class _Config(dict):
    def update(self, values, *, allow_val_change):
        super().update(values)


class Run:
    offline = True

    def __init__(self, mark, project, entity, root):
        self.id, self.project, self.entity, self.config = mark, project, entity, _Config()
        folder = root / "wandb" / f"offline-run-{len(list(root.glob('wandb/*')))}-{mark}"
        folder.mkdir(parents=True)
        self.dir, self._file = str(folder / "files"), folder / f"run-{mark}.wandb"

    def define_metric(self, name, step_metric=None):
        self._put({"axis": [name, step_metric]})

    def log(self, values):
        self._put({k: f"picture {v.size}" if isinstance(v, Image) else v for k, v in values.items()})

    def finish(self, exit_code):
        self._put({"exit_code": exit_code})

    def _put(self, row):
        with self._file.open("a") as file:
            file.write(json.dumps(row) + "\n")


def init(*, project, entity, name, group, resume, reinit, settings, **given):
    assert resume == "allow"
    return Run(given["id"], project, entity, Path(given["dir"]))
