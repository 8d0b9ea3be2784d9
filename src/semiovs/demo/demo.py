"""`semiovs demo`: one synthetic data set, four trainings that differ in the images they learn from, one table.

It uses the same parts as a user's project: a `folder` data set, an open-vocabulary teacher that labels into a store,
configurations, `train`.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from semiovs.config import load_config
from semiovs.demo.ood_labels import OodLabels, label_ood
from semiovs.demo.synthetic import WorldSize, write_world
from semiovs.engine import training
from semiovs.engine.dry_run import dry_run
from semiovs.engine.precision import Precision
from semiovs.engine.run import read_metrics
from semiovs.files import write_text
from semiovs.inference import Predictor
from semiovs.store import PseudoLabelStore

#: The world of the demo.
SIZE = WorldSize()

#: Time for all trainings together in seconds, and the largest and smallest number of steps of each.
BUDGET, MOST_STEPS, LEAST_STEPS = 170.0, 300, 20
#: Cost of a step of all four trainings, in steps of the slowest.
ALL_ARMS = 2.9
EVALUATIONS = 5

Say = Callable[[str], None]


@dataclass(frozen=True)
class Arm:
    """One training. name: in results.json; title: in the table; short: column; settings: added to the configuration."""

    name: str
    title: str
    short: str
    learns_from: str
    settings: tuple[str, ...]


ARMS = (
    Arm("supervised", "Supervised", "Supervised", "the labelled images", ("method=supervised",)),
    Arm("unimatch", "UniMatch", "UniMatch", "+ its own labels on unlabelled images", ("method.name=unimatch",)),
    Arm(
        "unimatch_naive_ood",
        "UniMatch + naive OOD",
        "naive OOD",
        "+ its own labels on OOD images",
        ("method.name=unimatch", "ood.images=ood", "ood.batch_size=4", "ood.mode=naive"),
    ),
    Arm(
        "semiovs",
        "SemiOVS",
        "SemiOVS",
        "+ the teacher's labels on OOD images",
        ("method.name=unimatch", "ood.images=ood", "ood.batch_size=4", "ood.labels=ood-labels"),
    ),
)

_YAML = """\
# The world of `semiovs demo`, ready to be played with:
#   semiovs train {root} method=fixmatch run.dir={root}/runs/mine
data: {{root: world, crop_size: 64, scale: [0.8, 1.3], pipeline: fast, workers: 0}}
model: {{name: deeplabv3plus, encoder: small, pretrained: true, output_stride: 16, dilations: [1, 2, 4], channels: 64}}
method: {{name: unimatch, conf_thresh: 0.8}}
optim: {{name: adamw, lr: 0.001, head_lr_multiplier: 3, weight_decay: 0.01}}
train:
  {{steps: {steps}, batch_size: 8, unlabeled_batch_size: 8, seed: {seed}, device: cpu, precision: {precision}, eval_every: {every},
   save_every: 1000000, log_every: 50, keep_last: 1}}
run: {{tensorboard: false}}
"""


@dataclass(frozen=True)
class TrainingCurve:
    """One arm's evaluation during training: steps and mIoU (percent), and per-class IoU at the end."""

    steps: list[int]
    miou: list[float]
    iou: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class DemoExample:
    """An image (H, W, 3), its true labels (H, W), and predictions: caption -> labels (H, W)."""

    image: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    labels: Mapping[str, NDArray[np.uint8]]


@dataclass
class DemoResult:
    """Result of the demo. teacher: scores of its labels on the OOD images; curves: by arm."""

    root: Path
    size: WorldSize
    seed: int
    steps: int
    precision: str
    teacher: OodLabels
    curves: dict[str, TrainingCurve] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def miou(self) -> dict[str, float]:
        """Score of each arm at the last step."""
        return {name: curve.miou[-1] for name, curve in self.curves.items()}

    def as_json(self) -> dict[str, Any]:
        """Content of results.json."""
        return {
            **{name: round(value, 2) for name, value in self.miou.items()},
            "teacher": round(self.teacher.miou, 2),
            "teacher_labels": self.teacher.as_json(),
            "seconds": round(self.seconds, 1),
            "seed": self.seed,
            "steps": self.steps,
            "iou": {n: {c: round(v, 2) for c, v in curve.iou.items()} for n, curve in self.curves.items()},
            "seconds_of_arms": {name: round(curve.seconds, 1) for name, curve in self.curves.items()},
            "hardware": describe_hardware(self.precision),
        }


def run_demo(
    root: Path, seed: int, *, steps: int | None = None, say: Say = print, size: WorldSize | None = None
) -> DemoResult:
    """Make the data set in ``root/world`` (which must not exist), train the four arms, return their scores.

    steps: of each training; None: as many as fit the time, by a short timing.

    Raises:
        UsageError: an invalid seed or size; others as `write_world`, `label_images` and `training.train`.
    """
    begin, size = time.perf_counter(), size or SIZE
    write_world(root / "world", seed, size=size)
    say(f"world: {size.labeled} labelled, {size.unlabeled} unlabelled, {size.ood} OOD, {size.val} evaluation images")
    teacher = label_ood(root / "world")
    say(
        f"teacher: asked with {teacher.concepts} words, it labelled {teacher.images} OOD images in {teacher.seconds:.0f} s; "
        f"mIoU {teacher.miou:.1f}"
    )
    steps, precision = (steps, _choose_precision()) if steps else choose_steps(root, seed, say)
    result = DemoResult(root, size, seed, steps, precision, teacher)
    write_text(root / "semiovs.yaml", _make_yaml(root.name, seed, steps, precision))
    for number, arm in enumerate(ARMS, start=1):
        say(f"{number}/{len(ARMS)} {arm.title}: {arm.learns_from}")
        result.curves[arm.name] = train_arm(root, arm)
    result.seconds = time.perf_counter() - begin
    return result


def choose_steps(root: Path, seed: int, say: Say) -> tuple[int, str]:
    """Number of steps that fits `BUDGET`, and the faster precision, by timing a few steps of the slowest arm.

    One thread is timed as well, which is faster on a busy machine; the faster setting is kept for the trainings.
    """
    threads = torch.get_num_threads()
    seconds = {(name, threads): _time_step(root, seed, name) for name in dict.fromkeys(("fp32", _choose_precision()))}
    precision = min(seconds, key=lambda way: seconds[way])[0]
    if threads > 1:
        torch.set_num_threads(1)
        seconds[precision, 1] = _time_step(root, seed, precision)
    precision, threads = min(seconds, key=lambda way: seconds[way])
    torch.set_num_threads(threads)
    fitting = int(BUDGET / (ALL_ARMS * seconds[precision, threads]))
    steps = max(LEAST_STEPS, min(MOST_STEPS, fitting // EVALUATIONS * EVALUATIONS))
    times = ", ".join(f"{name} on {count} threads {value:.2f} s" for (name, count), value in seconds.items())
    say(f"timing: a step of SemiOVS takes in {times}; {steps} steps an arm in {precision} on {threads} threads")
    return steps, precision


def _time_step(root: Path, seed: int, precision: str) -> float:
    """Seconds per step of the slowest arm."""
    write_text(root / "semiovs.yaml", _make_yaml(root.name, seed, LEAST_STEPS, precision))
    return float(dry_run(_load_arm_config(root, ARMS[-1]).config)["seconds_per_step"])


def train_arm(root: Path, arm: Arm) -> TrainingCurve:
    """Train one arm in ``runs/<name>`` and read its curve."""
    begin = time.perf_counter()
    outcome = training.train(_load_arm_config(root, arm), ["semiovs", "demo"])
    rows = [row for row in read_metrics(outcome.directory / "metrics.jsonl") if row["kind"] == "eval"]
    last: Mapping[str, float] = rows[-1]["iou"]
    return TrainingCurve(
        [int(row["step"]) for row in rows],
        [float(row["miou"]) for row in rows],
        {name: float(value) for name, value in last.items()},
        time.perf_counter() - begin,
    )


def make_examples(root: Path, count: int) -> tuple[list[DemoExample], list[DemoExample]]:
    """The first `count` evaluation and OOD images, with predictions of the trained arms."""
    world = root / "world"
    predictors = {
        arm: Predictor.load(root / "runs" / arm.name / "checkpoints" / "last.pt", device="cpu") for arm in ARMS
    }

    teacher = PseudoLabelStore.open(world / "ood-labels")

    def of(folder: str, truth: str, arms: Sequence[Arm], *, labelled: bool) -> list[DemoExample]:
        found = []
        for path in sorted((world / folder).iterdir())[:count]:
            labels = {"teacher": teacher.label(path.stem)} if labelled else {}
            labels |= {arm.short: predictors[arm](path).labels for arm in arms}
            found.append(DemoExample(_read_pixels(path), _read_pixels(world / truth / path.name), labels))
        return found

    return of("val/images", "val/masks", ARMS, labelled=False), of("ood", "ood-truth", ARMS[1:], labelled=True)


def _read_pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.array(image)


def describe_hardware(precision: str) -> dict[str, Any]:
    """Hardware and versions that timings depend on."""
    return {
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "precision": precision,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _load_arm_config(root: Path, arm: Arm) -> Any:
    return load_config(str(root / "semiovs.yaml"), [*arm.settings, f"run.dir={root / 'runs' / arm.name}"])


def _make_yaml(name: str, seed: int, steps: int, precision: str) -> str:
    every = max(1, -(-steps // EVALUATIONS))
    return _YAML.format(root=name, seed=seed, steps=steps, precision=precision, every=every)


def _choose_precision() -> Literal["fp32", "bf16", "fp16"]:
    return Precision.choose("auto", torch.device("cpu")).name
