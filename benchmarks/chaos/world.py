"""A data set of a few pictures of 40 pixels, and the runs, stores and comparisons that nobody disturbed."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.chaos.harm import Harm
from benchmarks.chaos.learners import LEARNERS, METHODS
from benchmarks.chaos.process import Process

CLASSES = ("ground", "red", "blue")
_COLORS = np.array([[90, 120, 80], [200, 40, 40], [40, 60, 210]])
_SIDE = 40
STEPS = 12
#: Images that `label` labels.
IMAGES = 40

_METHOD = ("data.crop_size=32", "model.encoder=tiny", "model.channels=16", "model.dilations=[1,2]", "optim.lr=0.01")
_TRAIN = ("train.batch_size=2", "train.precision=fp32", "train.device=cpu", "train.log_every=1", "run.log=[]")
_OFTEN = ("train.save_every=1", "train.keep_last=3", "train.eval_every=5", "data.workers=0")


@dataclass
class World:
    """root: folder for everything; fresh: begin every process as an interpreter of its own."""

    root: Path
    fresh: bool = False
    _made: dict[str, Path] = field(default_factory=dict)
    _folders: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.root = self.root.resolve()
        self.data = self.root / "data"
        if not self.data.exists():
            _write_data(self.data)

    def folder(self) -> Path:
        """A new empty folder for one trial."""
        with self._lock:
            self._folders += 1
            path = self.root / "trials" / f"{self._folders:04d}"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def start(self, arguments: Sequence[str], folder: Path, harm: Harm | None = None) -> Process:
        """Begin `semiovs ARGUMENTS…`, which says what it says in `folder`/log."""
        return Process(arguments, folder / "log", harm or Harm(), fresh=self.fresh)

    def launch(self, launcher: Sequence[str], arguments: Sequence[str], folder: Path, harm: Harm) -> Process:
        """Begin `semiovs ARGUMENTS…` as two ranks by `python LAUNCHER…`."""
        return Process(arguments, folder / "log", harm, launcher=launcher)

    def command(self, arguments: Sequence[str], folder: Path, harm: Harm | None = None) -> tuple[int | None, str]:
        """Exit code of `semiovs ARGUMENTS…` and what it said."""
        process = self.start(arguments, folder, harm)
        return process.finish(), process.told()

    def training(self, method: str, run: Path, *further: str) -> list[str]:
        """Words of a training of `STEPS` steps that saves after each of them; it replaces what is in `run`."""
        words = [*_METHOD, *_TRAIN, *_OFTEN, *{**LEARNERS, **METHODS}[method], f"train.steps={STEPS}"]
        return ["train", *words, f"data.root={self.data}", f"run.dir={run}", "run.overwrite=true", *further]

    def go_on(self, method: str, run: Path, *further: str) -> list[str]:
        """The command that goes on: `resume` as soon as there is a checkpoint."""
        begun = any((run / "checkpoints").glob("step-*.pt"))
        return ["resume", str(run), *further] if begun else self.training(method, run, *further)

    def labelling(self, store: Path) -> list[str]:
        """Words of a labelling of `IMAGES` images."""
        given = ["--teacher", "masks", "--from", str(self.data / "many-labels"), "--classes", ",".join(CLASSES)]
        given += ["--batch-size", "2", "--threads", "2"]
        return ["label", "--images", str(self.data / "many"), *given, "--out", str(store)]

    def comparison(self, out: Path) -> list[str]:
        """Words of a comparison of two arms with one seed."""
        words = [*_METHOD, *_TRAIN, *METHODS["unimatch"], "data.workers=0", "train.steps=6"]
        words += ["train.save_every=1", "train.eval_every=3", f"data.root={self.data}"]
        return ["compare", *words, "--out", str(out), "--arms", "labels,ood", "--seeds", "1"]

    def straight(self, method: str) -> Path:
        """A run that nobody disturbed; its file events are in `events` beside it."""
        return self._make(f"run-{method}", lambda run: self.training(method, run))

    def straight_on_ranks(self, method: str, launcher: Sequence[str]) -> Path:
        """A run of two ranks that nobody disturbed; the file events of rank 0 are in `events` beside it."""
        name = f"ranks-{method}"
        with self._lock:
            if name not in self._made:
                folder = self._fresh_folder(name)
                out = folder / "out"
                record = Harm(str(out), record=str(folder / "events"), rank=0)
                process = self.launch(launcher, self.training(method, out), folder, record)
                assert process.finish() == 0, f"the undisturbed {name}: {process.told()}"
                self._made[name] = out
            return self._made[name]

    def store(self) -> Path:
        """A store that nobody disturbed."""
        return self._make("store", self.labelling)

    def compared(self) -> Path:
        """A comparison that nobody disturbed."""
        return self._make("comparison", self.comparison)

    def evaluated(self) -> Path:
        """A finished run that was evaluated once more."""

        def words(run: Path) -> list[str]:
            shutil.copytree(self.straight("unimatch"), run, symlinks=True)
            return ["evaluate", str(run)]

        return self._make("evaluated", words)

    def events(self, made: Path) -> list[str]:
        """What the making of an undisturbed thing did to files, in order: `open PATH`, `os.rename PATH`, …"""
        return (made.parent / "events").read_text("utf-8").splitlines()

    def stopped(self, method: str) -> Path:
        """A run that was killed while it saved step 10, with checkpoints of the steps 7, 8 and 9."""
        name = f"stopped-{method}"
        with self._lock:
            if name not in self._made:
                folder = self._fresh_folder(name)
                at = Harm(str(folder / "run"), "kill", 1, match="step-00000010.pt")
                code, told = self.command(self.training(method, folder / "run"), folder, at)
                assert code == -9, told
                self._made[name] = folder / "run"
            return self._made[name]

    def _make(self, name: str, words: Callable[[Path], list[str]]) -> Path:
        with self._lock:
            if name not in self._made:
                folder = self._fresh_folder(name)
                out = folder / "out"
                code, told = self.command(words(out), folder, Harm(str(out), record=str(folder / "events")))
                assert code == 0, f"the undisturbed {name} ended with {code}: {told}"
                self._made[name] = out
            return self._made[name]

    def _fresh_folder(self, name: str) -> Path:
        folder = self.root / "undisturbed" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder


def _write_data(root: Path) -> None:
    generator = np.random.default_rng(0)
    parts = (
        ("images", "masks", 4),
        ("unlabeled", None, 6),
        ("ood", "ood-labels", 5),
        ("val/images", "val/masks", 2),
        ("many", "many-labels", IMAGES),
    )
    for images, masks, count in parts:
        for index in range(count):
            image, mask = _picture(generator)
            _save(root / images / f"{images[0]}{index:02d}.png", image)
            if masks:
                _save(root / masks / f"{images[0]}{index:02d}.png", mask)
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n", "utf-8")


def _picture(generator: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    mask = np.zeros((_SIDE, _SIDE), np.uint8)
    for label in (1, 2):
        x, y = generator.integers(0, _SIDE - 16, 2)
        mask[y : y + 14, x : x + 14] = label
    noise = generator.normal(0, 12, (_SIDE, _SIDE, 3))
    return np.clip(_COLORS[mask] + noise, 0, 255).astype(np.uint8), mask


def _save(path: Path, array: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def tree(root: Path) -> dict[str, bytes]:
    """Name -> bytes of every file below `root`."""
    return {os.fspath(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
