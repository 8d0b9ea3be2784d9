"""A world with a pool of images to choose from, in which copies, leaks, off-topic and broken images were planted."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from semiovs.datasets.synthetic import OOD, TARGET, VOCABULARY, render, save_png
from semiovs.datasets.textures import FOREIGN, NAMED
from semiovs.vocab.document import to_yaml

SIDE = 96


def scene(domain, *keys: int, side: int = SIDE):
    return render(domain, side, np.random.default_rng(list(keys)))
