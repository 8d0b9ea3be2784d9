"""Made-up pictures in the place of Pascal VOC and COCO, to time trainings where neither is at hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiovs.config.schema import Config
from semiovs.config.yaml_reader import format_inline
from semiovs.files import write_text
from semiovs.models.semivl.text import phrases_of
from semiovs.vocab.vocabulary import Vocabulary

#: Width and height of most pictures of both.
SIZE = (500, 375)
#: Pictures of each kind: enough for a batch of each recipe.
_TRAINED, VAL = 16, 2
#: Length of the embeddings of the names, in CLIP ViT-B/16.
_DIM = 512


def write_stand_in(root: Path) -> None:
    """Write pictures with masks, and lists of them, into the folder `root`."""
    draws = np.random.default_rng(0)
    for name, count in (("labeled", _TRAINED), ("unlabeled", _TRAINED), ("ood", _TRAINED), ("val", VAL)):
        lines = []
        for number in range(count):
            image, mask = f"{name}/{number}.jpg", f"masks/{name}/{number}.png"
            for path in (image, mask):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
            label = _draw_label(draws)
            Image.fromarray(_paint(label, draws)).save(root / image, quality=90)
            Image.fromarray(label).save(root / mask)
            lines.append(f"{image} {mask}")
        write_text(root / f"{name}.txt", "".join(f"{line}\n" for line in lines))


def point_at(root: Path, config: Config) -> Iterator[str]:
    """``key=value`` arguments that train a configuration on the pictures in `root`, with untrained weights."""
    for key in ("labeled", "unlabeled", "val"):
        yield f"data.{key}={format_inline(str(root / f'{key}.txt'))}"
    yield f"data.root={format_inline(str(root))}"
    yield f"run.dir={format_inline(str(root / 'run'))}"
    if config.ood is not None:
        yield f"ood.images={format_inline(str(root / 'ood'))}"
        yield f"ood.labels={format_inline(str(root / 'masks' / 'ood'))}"
    yield "model.pretrained=false"
    if config.model.options.get("text") == "clip":  # its words come from weights, which may not be here
        yield from _make_texts(root, config)


def _make_texts(root: Path, config: Config) -> Iterator[str]:
    vocabulary, draws = Vocabulary.load(str(config.data.classes)), np.random.default_rng(0)
    guide = str(config.method.options["guide_asked"])
    for key, asked in (("model.text_embeddings", "names"), ("method.guide_embeddings", guide)):
        rows = sum(map(len, phrases_of(vocabulary, asked)))
        path = root / f"{asked}.npy"
        np.save(path, draws.standard_normal((rows, _DIM)).astype(np.float32))
        yield f"{key}={format_inline(str(path))}"


def _draw_label(draws: np.random.Generator) -> NDArray[np.uint8]:
    """Background with an object or two."""
    label = np.zeros(SIZE[::-1], np.uint8)
    for _ in range(2):
        x, y = (int(draws.integers(0, side // 2)) for side in SIZE)
        label[y : y + SIZE[1] // 3, x : x + SIZE[0] // 3] = draws.integers(1, 21)
    return label


def _paint(label: NDArray[np.uint8], draws: np.random.Generator) -> NDArray[np.uint8]:
    """Smooth colours, another in each object, with a little noise: a JPEG of about the size of a photograph's."""
    waves = np.sin(np.linspace(0, 9, SIZE[0]))[None, :, None] * np.cos(np.linspace(0, 7, SIZE[1]))[:, None, None]
    colors = draws.integers(40, 200, (21, 3))
    noise = draws.normal(0, 12, (*label.shape, 3))
    painted: NDArray[np.uint8] = np.clip(colors[label] + 40 * waves + noise, 0, 255).astype(np.uint8)
    return painted
