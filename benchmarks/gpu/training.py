"""Training end to end: images are read, changed and learnt from by the training loop itself, without evaluations."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import pictures
from benchmarks.gpu.meter import Measured, Place
from semiovs.config import load_config
from semiovs.engine.distributed import join_processes
from semiovs.engine.experiment import Experiment
from semiovs.engine.loop import Learner, fit

#: Folders of a data set, and how many images each has.
_FOLDERS = (("images", 24), ("unlabeled", 64), ("ood", 48))


@dataclass(frozen=True)
class Setting:
    """What differs between two rows."""

    workers: int
    pipeline: str
    precision: str = "auto"

    def __str__(self) -> str:
        kind = "" if self.precision == "auto" else f", {self.precision}"
        return f"{self.workers} workers, {self.pipeline} pipeline{kind}"


def rows(place: Place) -> list[Measured]:
    """UniMatch with OOD images on R-101 at 321², 8 images of each stream, from JPEG files of 500x375."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        root = write_images(Path(folder), place)
        for setting in settings(place):
            found += _of_setting(root, setting, place)
            place.forget()
    return found


def settings(place: Place) -> list[Setting]:
    """Those that the cores of this machine allow."""
    if place.tiny:
        return [Setting(0, "fast")]
    cores = os.cpu_count() or 1
    tried = [Setting(workers, "fast") for workers in (2, 4, 8, 14) if workers <= cores]
    most = min(8, cores)
    return [*tried, Setting(most, "reference"), Setting(most, "fast", "fp32")]


def write_images(root: Path, place: Place) -> Path:
    """images/, masks/, unlabeled/, ood/, ood-labels/ and classes.txt of made-up photographs."""
    size = place.of((500, 375), (60, 45))
    for name, count in _FOLDERS:
        masks = root / {"images": "masks", "ood": "ood-labels"}.get(name, "unused")
        (root / name).mkdir(parents=True)
        masks.mkdir(exist_ok=True)
        for image, mask in pictures.make(root / name, place.of(count, 4), size):
            mask.rename(masks / mask.name)
            image.rename(root / name / image.name)
    (root / "classes.txt").write_text("\n".join(f"class {index}" for index in range(21)) + "\n", "utf-8")
    return root


def keys(root: Path, setting: Setting, place: Place, steps: int) -> list[str]:
    """Of the configuration."""
    model = place.of(["model.encoder=resnet101s"], ["model.encoder=tiny", "model.channels=16"])
    return [
        f"data.root={root}", f"data.crop_size={place.of(321, 33)}", f"data.workers={setting.workers}",
        f"data.pipeline={setting.pipeline}", "method.name=unimatch", "ood.images=ood", "ood.labels=ood-labels",
        "model.pretrained=false", *model, f"train.batch_size={place.of(8, 2)}", f"train.steps={steps}",
        f"train.precision={setting.precision}", f"train.device={place.device}", "run.log=[]",
    ]  # fmt: skip


def _of_setting(root: Path, setting: Setting, place: Place) -> list[Measured]:
    """Seconds of a step once the loader is under way, and of a batch when nothing is learnt from it."""
    warm, counted = place.of((10, 40), (1, 2))
    config = load_config(None, keys(root, setting, place, warm + counted)).config
    with join_processes(place.device) as world:
        experiment = Experiment.build(config, world, check=False)
        ends: list[float] = []

        def clock(learner: Learner) -> None:
            if learner.step in (warm, warm + counted):
                world.synchronize()
                ends.append(time.perf_counter())

        with closing(experiment.batches()) as batches:
            fit(experiment.learner, batches, experiment.recipe, world, [clock])
        step = (ends[1] - ends[0]) / counted
        experiment = replace(experiment, learner=replace(experiment.learner, step=0))
        with closing(experiment.batches()) as batches:
            batch = _seconds_of_each(itertools.islice(batches, warm + counted), warm)
        precision = experiment.recipe.precision.name
    what = f"unimatch + OOD end to end, {setting}, {precision}"
    return [
        Measured(f"{what}, step", 1e3 * step, "ms", note="wall time"),
        Measured(f"{what}, a batch from the loader alone", 1e3 * batch, "ms", note="wall time"),
    ]


def _seconds_of_each(batches: itertools.islice[object], warm: int) -> float:
    ends: Sequence[float] = [time.perf_counter() for _ in batches]
    return (ends[-1] - ends[warm - 1]) / (len(ends) - warm)
