"""semiovs: semi-supervised semantic segmentation with open-vocabulary teachers.

It trains a segmentation model on a few labelled images, many unlabelled ones, and out-of-distribution images that an
open-vocabulary model labels. ``import semiovs`` is cheap: what it offers is imported when it is used.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from semiovs import offline

if TYPE_CHECKING:
    from semiovs.api.card import card
    from semiovs.api.compare import compare
    from semiovs.api.evaluate import evaluate
    from semiovs.api.label import label
    from semiovs.api.training import TrainedRun, resume, train
    from semiovs.inference import Predictor
    from semiovs.vocab import Vocabulary

if sys.platform == "darwin":  # read when torch is imported: what Apple's GPUs cannot compute, the CPU does, and says so
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

offline.obey()  # before any library is imported that would ask

__version__ = "0.1.0"

__all__ = ["Predictor", "TrainedRun", "Vocabulary", "card", "compare", "evaluate", "label", "resume", "train"]

#: Name -> the module that has it.
_PLACES = {
    "Predictor": "semiovs.inference",
    "TrainedRun": "semiovs.api.training",
    "Vocabulary": "semiovs.vocab",
    "card": "semiovs.api.card",
    "compare": "semiovs.api.compare",
    "evaluate": "semiovs.api.evaluate",
    "label": "semiovs.api.label",
    "resume": "semiovs.api.training",
    "train": "semiovs.api.training",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'semiovs' has no attribute '{name}'")
    from importlib import import_module

    found = globals()[name] = getattr(import_module(_PLACES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
