"""All learners on the synthetic world: labels only, + unlabelled images, + OOD images labelled by the student or by the
teacher.

    python examples/compare_learners.py --out work --seeds 0 1 2 --jobs 2

One world a seed, labelled by the teacher `small`; every run has the same number of steps and images, one thread and a
process of its own. What is there already is not run again. work/table.md and work/table.json hold mean and spread over
the seeds, and the seconds that a step takes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiovs.demo.ood_labels import label_ood
from semiovs.demo.synthetic import WorldSize, write_world
from semiovs.files import write_json, write_text

_YAML = """\
data: {{root: world, crop_size: 64, scale: [0.8, 1.3], pipeline: fast, workers: 0}}
model: {model}
method: {method}
optim: {{name: adamw, lr: 0.001, head_lr_multiplier: 3, weight_decay: 0.01}}
train: {{batch_size: 8, unlabeled_batch_size: 8, device: cpu, precision: bf16, save_every: 1000000, log_every: 10, keep_last: 1}}
run: {{log: []}}
"""

#: DeepLabV3+ on the encoder of the package, whose weights have seen other textures.
_MODEL: dict[str, Any] = {
    "name": "deeplabv3plus", "encoder": "small", "pretrained": True, "output_stride": 16, "dilations": [1, 2, 4], "channels": 64,
}  # fmt: skip
#: Other networks, for methods that are tied to one; SemiVL's starts from nothing.
MODELS: dict[str, dict[str, Any]] = {
    "ddfp": {**_MODEL, "name": "deeplabv3plus-dual"},
    "semivl": {
        "name": "semivl", "encoder": "tiny", "image_size": 64, "trained": "all", "text": "words", "taps": [0, 1], "channels": 32,
        "up_channels": [32, 16], "skip_channels": [16, 8], "layers": 1, "pool": 2, "dilations": [1, 2],
    },
}  # fmt: skip
#: What a method needs beside its name.
METHODS: dict[str, dict[str, Any]] = {
    "allspark": {"warmup_epoch": 1},  # of three
    "ddfp": {"warmup": [1, 0], "ema_decay": 0.99},  # an epoch of labels alone, then all of it
    "prevmatch": {"prev_conf_thresh": 0.8, "prev_snapshot": "schedule", "prev_every": 15},
    "semivl": {"guidance": [0.0, 0.0]},  # there is no trained CLIP that could guide
    "unimatch-v2": {"ema_decay": 0.99},  # 0.996 is for longer runs
}
LABELS_ONLY = "labels only"

#: The streams of a run, by column.
ARMS: dict[str, tuple[str, ...]] = {
    "unlabelled": (),
    "naive OOD": ("ood.images=ood", "ood.batch_size=4", "ood.mode=naive"),
    "OVS OOD": ("ood.images=ood", "ood.batch_size=4", "ood.labels=ood-labels"),
}


@dataclass(frozen=True)
class Training:
    """One run: what learns, from what, and in which world."""

    method: str
    arm: str
    seed: int

    def directory(self, out: Path) -> Path:
        """Of the run."""
        return out / "runs" / f"{self.method}-{self.arm.replace(' ', '-').lower()}-{self.seed}"


def trainings(methods: Sequence[str], seeds: Sequence[int]) -> Iterator[Training]:
    """Every run, seed by seed; labels alone once for each network."""
    for seed in seeds:
        for method in methods:
            if method == methods[0] or method in MODELS:
                yield Training(method, LABELS_ONLY, seed)
            yield from (Training(method, arm, seed) for arm in ARMS)


def write_config(path: Path, training: Training) -> None:
    """The configuration of a run without its streams."""
    method = {"name": training.method, "conf_thresh": 0.8, **METHODS.get(training.method, {})}
    if training.arm == LABELS_ONLY:
        method = {"name": "supervised"}
    model = MODELS.get(training.method, _MODEL)
    write_text(path, _YAML.format(model=json.dumps(model), method=json.dumps(method)))


def run(out: Path, training: Training, steps: int) -> None:
    """Train in a process of its own, unless it is done; what it says goes to a file beside the run."""
    directory = training.directory(out)
    if (directory / "eval.json").is_file():
        return
    config = out / f"seed-{training.seed}" / f"{directory.name}.yaml"
    write_config(config, training)
    command = [
        sys.executable, "-m", "semiovs", "train", str(config), *ARMS.get(training.arm, ()), f"train.steps={steps}",
        f"train.eval_every={steps}", f"train.seed={training.seed}", f"run.dir={directory}", "--overwrite",
    ]  # fmt: skip
    log = directory.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        done = subprocess.run(
            command, stdout=file, stderr=file, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
        )
    if done.returncode:
        print(f"{training} ended with {done.returncode}, see {log}", flush=True)
        return
    print(f"{training}: {score(out, training):.1f}", flush=True)


def score(out: Path, training: Training) -> float:
    """mIoU in percent after the last step, of the model that the method is evaluated with."""
    last = json.loads((training.directory(out) / "eval.json").read_text())["last"]
    return float(last["ema" if "ema" in last else "student"]["miou"])


def cost(out: Path, training: Training) -> float:
    """Mean seconds of a step, from the first to the last line of the run's log."""
    rows = [json.loads(line) for line in (training.directory(out) / "metrics.jsonl").read_text().splitlines()]
    first, *_, last = (row for row in rows if row["kind"] == "train")
    return float((last["wall/time"] - first["wall/time"]) / (last["step"] - first["step"]))


def table(out: Path, methods: Sequence[str], seeds: Sequence[int]) -> str:
    """The table in Markdown; its numbers go to table.json too."""
    rows, data = [], {}
    for method in methods:
        cells = [method]
        for arm in (LABELS_ONLY, *ARMS):
            done = [
                t for t in (Training(method, arm, seed) for seed in seeds) if (t.directory(out) / "eval.json").is_file()
            ]
            scores = [score(out, t) for t in done]
            seconds = [cost(out, t) for t in done]
            data[f"{method} / {arm}"] = {"miou": scores, "seconds_per_step": seconds}
            spread = f" ± {statistics.stdev(scores):.1f}" if len(scores) > 1 else ""
            cells.append(f"{statistics.mean(scores):.1f}{spread} ({min(seconds):.2f} s)" if scores else "")
        rows.append(f"| {' | '.join(cells)} |")
    write_json(out / "table.json", data)
    head = ["method", LABELS_ONLY, *ARMS]
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *rows]) + "\n"


def main() -> None:
    """Worlds, runs, table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument(
        "--methods",
        nargs="+",
        default=["unimatch", "fixmatch", "prevmatch", "unimatch-v2", "corrmatch", "allspark", "ddfp", "semivl"],
    )
    options = parser.parse_args()
    for seed in options.seeds:
        root = options.out / f"seed-{seed}"
        if not (root / "world").is_dir():
            write_world(root / "world", seed, size=WorldSize(labeled=24))
        label_ood(root / "world")  # does what is left
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda t: run(options.out, t, options.steps), trainings(options.methods, options.seeds)))
    text = table(options.out, options.methods, options.seeds)
    write_text(options.out / "table.md", text)
    print(text)


if __name__ == "__main__":
    main()
