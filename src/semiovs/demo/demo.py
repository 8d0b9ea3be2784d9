"""`semiovs demo`: one synthetic data set, four trainings that differ in the images they learn from, one table.

It uses the same parts as a user's project: a `folder` data set, an open-vocabulary teacher that labels into a store, a
configuration, `compare`.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from semiovs.comparison.arms import ARMS as ALL_ARMS
from semiovs.comparison.arms import Arm
from semiovs.comparison.files import write_files
from semiovs.comparison.plan import Cell
from semiovs.comparison.prepare import Request, prepare
from semiovs.comparison.results import read_results
from semiovs.comparison.workers import Machine, Progress, train_cells
from semiovs.config import load_config
from semiovs.demo.ood_labels import OodLabels, label_ood
from semiovs.demo.synthetic import WorldSize, write_world
from semiovs.engine.run import read_metrics
from semiovs.errors import DivergedError
from semiovs.files import write_text
from semiovs.inference import Predictor
from semiovs.store import PseudoLabelStore

#: The world of the demo.
SIZE = WorldSize()

#: Steps of each training, the same for everybody, and evaluations in it.
STEPS, EVALUATIONS = 300, 3
#: Points of mIoU from which on two students of one seed are called different.
CLEAR = 2.0

Say = Callable[[str], None]


ARMS = tuple(arm for arm in ALL_ARMS if arm.name in ("labels", "unlabeled", "naive", "ood"))
#: Columns of tables that are narrow.
SHORT = {"labels": "labels", "unlabeled": "unlabelled", "naive": "OOD, own", "ood": "OOD, teacher"}

_YAML = """\
# The world of `semiovs demo`, ready to be played with:
#   semiovs train {root} method=fixmatch run.dir={root}/runs/mine
#   semiovs compare {root} --seeds 6 --jobs 2
data: {{root: world, crop_size: 48, scale: [0.8, 1.3], pipeline: fast, workers: 0}}
model: {{name: deeplabv3plus, encoder: small, pretrained: true, output_stride: 16, dilations: [1, 2, 4], channels: 32}}
method: {{name: unimatch, conf_thresh: 0.8, ema_decay: 0.95}}
optim: {{name: adamw, lr: 0.001, head_lr_multiplier: 3, weight_decay: 0.01}}
train:
  {{steps: {steps}, batch_size: 8, unlabeled_batch_size: 8, seed: {seed}, device: cpu, precision: fp32,
   eval_every: {every}, save_every: 1000000, log_every: 10, keep_last: 1}}
eval: {{batch_size: 30}}
ood: {{images: ood, labels: ood-labels, batch_size: 8}}
run: {{log: []}}
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
    teacher: OodLabels
    curves: dict[str, TrainingCurve] = field(default_factory=dict)
    seconds: float = 0.0

    def run(self, arm: Arm) -> Path:
        """The run directory of an arm."""
        return find_run(self.root, arm, self.seed)

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
            "hardware": describe_hardware(),
        }

    def judge(self) -> list[str]:
        """Sentences that answer the question of the demo from its scores; the first one is the verdict."""
        semiovs, naive, unimatch, labels = (self.miou[name] for name in ("ood", "naive", "unlabeled", "labels"))
        answer = {1: "Yes, they helped", 0: "No difference", -1: "No, they did harm"}[_compare(semiovs, unimatch)]
        return [
            f"{answer}: {semiovs:.1f} with images from elsewhere, labelled by the teacher; {unimatch:.1f} without "
            f"({semiovs - unimatch:+.1f} points).",
            f"The same images labelled by the student itself: {naive:.1f} ({_describe(naive, unimatch)}; the teacher's "
            f"labels are worth {semiovs - naive:+.1f}).",
            f"Images without labels: {unimatch:.1f} with them, {labels:.1f} from the labels alone "
            f"({_describe(unimatch, labels)}).",
            f"This is one seed: differences below {CLEAR:.0f} points may be chance.",
        ]


def _compare(score: float, other: float) -> int:
    """1: clearly better, -1: clearly worse, 0: neither."""
    return 0 if abs(score - other) < CLEAR else 1 if score > other else -1


def _describe(score: float, other: float) -> str:
    words = {1: "they help", 0: "no difference", -1: "they do harm"}
    return f"{words[_compare(score, other)]}, {score - other:+.1f}"


def run_demo(
    root: Path,
    seed: int,
    *,
    steps: int | None = None,
    say: Say = print,
    show: Progress = lambda done, total: None,  # noqa: ARG005
    size: WorldSize | None = None,
) -> DemoResult:
    """Make the data set in ``root/world`` (which must not exist), train the four arms, return their scores.

    steps: of each training; show: called with the steps of all trainings that are done.

    Raises:
        UsageError: an invalid seed or size; others as `write_world`, `label_images` and `compare_arms`.
    """
    begin, size, steps = time.perf_counter(), size or SIZE, steps or STEPS
    write_world(root / "world", seed, size=size)
    say(f"world: {size.labeled} labelled, {size.unlabeled} unlabelled, {size.ood} OOD, {size.val} evaluation images")
    with _one_thread():
        teacher = label_ood(root / "world")
    say(
        f"teacher: asked with {teacher.concepts} words, it labelled {teacher.images} OOD images in "
        f"{teacher.seconds:.0f} s; mIoU {teacher.miou:.1f}"
    )
    write_text(root / "semiovs.yaml", _make_yaml(root.name, seed, steps))
    say(f"training {len(ARMS)} students, {steps} steps each, two at a time: {', '.join(arm.title for arm in ARMS)}")
    compare_arms(root, show)
    result = DemoResult(root, size, seed, steps, teacher)
    result.curves = {arm.name: read_curve(result.run(arm)) for arm in ARMS}
    result.seconds = time.perf_counter() - begin
    return result


def compare_arms(root: Path, show: Progress) -> None:
    """``semiovs compare`` of one seed, in the folder ``comparison``.

    Two trainings at a time, of one thread each, so that scores do not depend on the cores.

    Raises:
        SemiovsError: what a training raised, or that it diverged.
    """
    wanted = [arm.name for arm in ARMS]
    prepared = prepare(load_config(str(root / "semiovs.yaml")), Request(wanted, seeds=1), root / "comparison")
    machine = Machine(jobs=min(2, count_cores()), threads=1, keep_checkpoints=True)
    outcome = train_cells(prepared.plan, prepared.plan.cells(), machine, show)
    for cell, reason in outcome.diverged.items():
        raise DivergedError(f"{cell}: {reason}")
    write_files(read_results(prepared.plan, prepared.images.vocabulary.names), prepared.plan.root)


def find_run(root: Path, arm: Arm, seed: int) -> Path:
    """The run directory of an arm in a demo's folder."""
    return root / "comparison" / "runs" / Cell(arm, seed).name


def count_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread, whose sums are the same on every number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def read_curve(run: Path) -> TrainingCurve:
    """Read the scores of a training's averaged student from its run directory."""
    rows = read_metrics(run / "metrics.jsonl")
    scores = [row for row in rows if row["kind"] == "eval" and row["model"] == "ema"]
    times = [float(row["wall/time"]) for row in rows if "wall/time" in row]
    last: Mapping[str, float] = scores[-1]["iou"]
    return TrainingCurve(
        [int(row["step"]) for row in scores],
        [float(row["miou"]) for row in scores],
        {name: float(value) for name, value in last.items()},
        max(times) - min(times),
    )


def make_examples(root: Path, seed: int, count: int) -> tuple[list[DemoExample], list[DemoExample]]:
    """The first `count` evaluation and OOD images, with predictions of the trained arms."""
    world = root / "world"
    runs = {arm: find_run(root, arm, seed) for arm in ARMS}
    predictors = {arm: Predictor.load(run / "checkpoints" / "last.pt", device="cpu") for arm, run in runs.items()}

    teacher = PseudoLabelStore.open(world / "ood-labels")

    def of(folder: str, truth: str, arms: Sequence[Arm], *, labelled: bool) -> list[DemoExample]:
        found = []
        for path in sorted((world / folder).iterdir())[:count]:
            labels = {"teacher": teacher.label(path.stem)} if labelled else {}
            labels |= {SHORT[arm.name]: predictors[arm](path).labels for arm in arms}
            found.append(DemoExample(_read_pixels(path), _read_pixels(world / truth / path.name), labels))
        return found

    return of("val/images", "val/masks", ARMS, labelled=False), of("ood", "ood-truth", ARMS[1:], labelled=True)


def _read_pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.array(image)


def describe_hardware() -> dict[str, Any]:
    """Hardware and versions that times and last digits depend on."""
    return {
        "cpus": count_cores(),
        "machine": platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _make_yaml(name: str, seed: int, steps: int) -> str:
    return _YAML.format(root=name, seed=seed, steps=steps, every=max(1, -(-steps // EVALUATIONS)))
