"""The pieces of the measurement: each stands for itself, in a process of its own, and takes less than ten minutes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module

from benchmarks.gpu.meter import Measured, Place

METHODS = (
    "supervised", "fixmatch", "unimatch", "prevmatch", "unimatch-v2", "semivl", "corrmatch", "allspark", "ddfp",
)  # fmt: skip
PROFILED = ("unimatch", "prevmatch", "unimatch-v2", "corrmatch")
#: SED by its size, and the number of concepts.
LABELLED = tuple((size, concepts) for size in ("base", "large") for concepts in (48, 171))


@dataclass(frozen=True)
class Piece:
    """A part of the measurement.

    module, function: what measures, in this package; argument: of the function, before the place. minutes: what it is
    thought to take on a GPU at most, for `--minutes` (a guess until one was measured).
    """

    name: str
    about: str
    module: str
    function: str
    argument: tuple[object, ...] = ()
    minutes: float = 1.0

    def measure(self, place: Place) -> list[Measured]:
        function: Callable[..., list[Measured]] = getattr(import_module(f"benchmarks.gpu.{self.module}"), self.function)
        return partial(function, *self.argument)(place)


PIECES: tuple[Piece, ...] = (
    Piece("device", "what the device can do: copies and matrix products", "device", "rows", minutes=0.5),
    *(
        Piece(f"step-{name}", f"a step of {name}, alone and with OOD, against its formula", "steps", "of_method",
              (name,), 1.5)
        for name in METHODS
    ),
    Piece("step-published", "UniMatch and SemiOVS against the published step", "steps", "published", minutes=1.5),
    Piece("precision", "the same step in fp32, tf32, bf16, fp16, each with channels last or not", "steps", "precision",
          minutes=2.0),
    Piece("compile", "torch.compile on and off", "steps", "compiled", minutes=5.0),
    Piece("end-to-end", "training with its loader", "training", "rows", minutes=4.0),
    *(
        Piece(f"label-{size}-{concepts}", f"SED {size}, {concepts} concepts", "labelling", "of_sed", (size, concepts),
              2.0)
        for size, concepts in LABELLED
    ),
    Piece("evaluation", "scoring images", "scoring", "rows", minutes=1.5),
    *(
        Piece(f"profile-{name}", f"where the time of a step of {name} goes", "profiles", "of_method", (name,), 1.0)
        for name in PROFILED
    ),
    Piece("profile-label", "where the time of an image of SED goes", "profiles", "of_teacher", minutes=1.0),
    Piece("tests", "the tests that need a GPU", "suite", "rows", minutes=3.0),
)  # fmt: skip


def find(name: str) -> Piece:
    """The piece called `name`."""
    return next(piece for piece in PIECES if piece.name == name)
