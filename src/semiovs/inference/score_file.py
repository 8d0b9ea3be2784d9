"""Class probabilities of an image as a file, without holding all of them."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import SpooledTemporaryFile

import numpy as np
from numpy.typing import NDArray

from semiovs.files import atomic_write

#: Called with rows of an image and their probabilities (K, h, W).
PutScores = Callable[[slice, NDArray[np.float32]], None]
#: Larger arrays (bytes) lie in a temporary file until all rows are known: each class has its rows one after the other.
_HELD = 64 << 20
_VALUE = np.dtype("<f2")


def write_scores(path: Path, find_scores: Callable[[PutScores], None], size: tuple[int, ...]) -> None:
    """Write a ``.npz`` with float16 ``scores`` (K, H, W).

    find_scores: calls its argument with all rows; perhaps several times, in which case the last ones count.
    """
    height, width = size
    classes = 0
    with atomic_write(path) as file, SpooledTemporaryFile(max_size=_HELD, dir=str(path.parent)) as spill:

        def put(rows: slice, part: NDArray[np.float32]) -> None:
            nonlocal classes
            classes = len(part)
            for index, values in enumerate(part):
                spill.seek((index * height + rows.start) * width * _VALUE.itemsize)
                spill.write(values.astype(_VALUE).tobytes())

        find_scores(put)
        spill.seek(0)
        with (
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open("scores.npy", "w", force_zip64=True) as member,
        ):
            header = {"descr": _VALUE.str, "fortran_order": False, "shape": (classes, height, width)}
            np.lib.format.write_array_header_1_0(member, header)
            shutil.copyfileobj(spill, member, 1 << 20)
