"""What loggers see of a training: some evaluation images at each evaluation, OOD images with their labels once."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiovs.cli.app import main
from semiovs.config import load_config
from semiovs.data.collection import Collection
from semiovs.images.masks import MaskReader
from semiovs.loggers.pictures import draw_ood_images, draw_pair, spread
from unit import toy_data

FAKES = Path(__file__).parents[2] / "data" / "loggers"

SMALL = [
    "data.crop_size=33",
    "data.workers=0",
    "method.ema_decay=0.9",
    "model.encoder=tiny",
    "train.batch_size=2",
    "train.steps=4",
    "train.device=cpu",
    "train.save_every=2",
    "train.eval_every=2",
]


def test_a_pair_shows_both_labellings_in_their_colours():
    photo = Image.new("RGB", (80, 40), (100, 100, 100))
    left, right = np.zeros((40, 80), np.uint8), np.full((40, 80), 255, np.uint8)
    right[:, :40] = 1
    pixels = np.asarray(draw_pair(photo, left, right, ((200, 0, 0), (0, 200, 0))))
    assert pixels.shape == (128, 256 + 4 + 256, 3)
    half = (100 + np.array([[200, 0, 0], [0, 200, 0]])) // 2
    assert np.abs(pixels[64, 100] - half[0]).max() <= 1
    assert np.abs(pixels[64, 260 + 60] - half[1]).max() <= 1
    assert pixels[64, 260 + 200].tolist() == [100, 100, 100]  # without a truth
    assert pixels[64, 258].tolist() == [255, 255, 255]


def test_a_spread_is_even_and_never_double():
    assert spread(range(10), 4) == [0, 2, 5, 7]
    assert spread([1, 2], 4) == [1, 2]
    assert spread([1, 2], 0) == spread([], 3) == []


@pytest.mark.parametrize(("mode", "count"), [("ovs", 3), ("placebo", 3), ("naive", 0)])
def test_ood_images_are_shown_with_the_labels_that_are_learnt(tmp_path, mode, count):
    sources: Collection = toy_data.sources(toy_data.make(tmp_path))
    config = load_config(None, [f"ood={tmp_path / 'ood'}", f"ood.mode={mode}"]).config
    (tmp_path / "ood/o0.png").write_bytes(b"damaged")
    shown = dict(draw_ood_images(sources, config, 4))
    assert list(shown) == ["o1", "o2", "o3"][:count]
    if mode == "ovs":
        label = MaskReader(toy_data.NAMES)(tmp_path / "ood-labels/o2.png")
        again = draw_pair(Image.open(tmp_path / "ood/o2.png"), None, label, sources.vocabulary.colors)
        assert shown["o2"].tobytes() == again.tobytes()


def events(run: Path) -> dict[str, list[int]]:
    """Tag of TensorBoard's pictures -> their steps."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run / "tensorboard"), {"images": 0})
    found.Reload()
    return {tag: [event.step for event in found.Images(tag)] for tag in found.Tags()["images"]}


def test_each_logger_gets_the_same_few_images_at_each_evaluation(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "mlflow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(FAKES)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'mlruns'}")
    root, run = toy_data.make(tmp_path / "data", val=5), tmp_path / "run"
    (root / "semiovs.yaml").write_text("data: {root: .}\nood: {images: ood, labels: ood-labels}\n")
    ask = ["run.log=[tensorboard, mlflow]", "run.log_images=2", f"run.dir={run}"]
    assert main(["train", str(root), *SMALL, *ask]) == 0
    shown = events(run)
    assert shown == {"ood/o0": [0], "ood/o2": [0], "evaluation/v0": [2, 4], "evaluation/v2": [2, 4]}
    written = {path.name for path in (tmp_path / "mlruns").glob("*/images/*.png")}
    assert written == {f"{tag.replace('/', '~')}-{step}.png" for tag, steps in shown.items() for step in steps}

    for path in run.glob("checkpoints/*4.pt*"):
        path.unlink()
    assert main(["resume", str(run), "run.log=[]"]) == 0
    assert events(run) == shown
