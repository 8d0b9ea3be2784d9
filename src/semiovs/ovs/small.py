"""Teacher `small`: an open-vocabulary teacher of 0.9 million parameters whose weights ship with the package.

It knows textures and colours only: SED's cost aggregation on the encoder `small` and a small text encoder, trained on
synthetic scenes (`demo/named_world.py`) by `examples/train_small_teacher.py`. For the demo, first trials and tests.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from semiovs.ovs.sed import AUTO, SedTeacher

#: File with the shipped weights (fp16), inside the package.
WEIGHTS = "data/small_teacher.safetensors"


class SmallTeacher(SedTeacher):
    """`sed` with the shipped weights (Xie et al., CVPR 2024; docs/teachers/small.md).

    precision, device: as for `sed`.

    Raises:
        UsageError: a value that cannot be taken.
    """

    def __init__(self, precision: str = AUTO, device: str = "auto") -> None:
        super().__init__(find_shipped_teacher(), precision=precision, device=device)


def find_shipped_teacher() -> Path:
    """Path of the shipped weights; the record of their training is beside them, as ``.json``."""
    return Path(str(resources.files("semiovs.models") / WEIGHTS))
