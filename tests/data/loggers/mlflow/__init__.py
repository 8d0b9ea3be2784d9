"""As much of MLflow as the program calls, in a local store of one file."""

import json
import os
import re
import uuid
from pathlib import Path
from types import SimpleNamespace

_NAME = re.compile(r"[/\w.\- ]+")


def get_tracking_uri():
    return os.environ.get("MLFLOW_TRACKING_URI") or f"file:{Path.cwd() / 'mlruns'}"


class MlflowClient:
    def __init__(self, tracking_uri=None):
        self._store = Path((tracking_uri or get_tracking_uri()).removeprefix("file:")) / "store.json"

    def _change(self, run, key, *values):
        store = json.loads(self._store.read_text()) if self._store.exists() else {}
        store.setdefault(run, {}).setdefault(key, []).extend(values)
        self._store.parent.mkdir(parents=True, exist_ok=True)
        self._store.write_text(json.dumps(store))

    def _read(self, run):
        return json.loads(self._store.read_text())[run]

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name):
        return name

    def create_run(self, experiment, *, run_name, tags):
        run = uuid.uuid4().hex
        self._change(run, "status", "RUNNING")
        return SimpleNamespace(info=SimpleNamespace(run_id=run))

    def get_run(self, run):
        found = self._read(run)
        return SimpleNamespace(info=SimpleNamespace(run_id=run, status=found["status"][-1]))

    def update_run(self, run, *, status):
        self._change(run, "status", status)

    def set_terminated(self, run, *, status):
        self._change(run, "status", status)

    def log_batch(self, run, *, metrics=(), params=()):
        assert len(metrics) <= 1000
        assert len(params) <= 100
        for each in (*metrics, *params):
            if not _NAME.fullmatch(each.key) or ".." in each.key.split("/"):
                raise ValueError(f"Invalid value {each.key!r}")
        self._change(run, "metrics", *([m.key, m.value, m.step] for m in metrics))

    def get_metric_history(self, run, key):
        rows = self._read(run)["metrics"]
        return [SimpleNamespace(step=step, value=value) for name, value, step in rows if name == key]

    def log_image(self, run, picture, *, key, step):
        assert re.fullmatch(r"[a-zA-Z0-9_\-./ ]+", key)
        folder = self._store.parent / run / "images"
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"{key.replace('/', '~')}-{step}.png")
