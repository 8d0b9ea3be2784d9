"""The network computes what the published one computes: recorded features, logits, statistics, perturbed decoding.

Training mode was recorded in float64 and is computed in float64 here: with batches of two, BatchNorm amplifies the rounding
of float32 to 1e-3 of the logits of a ResNet-101, and the rounding is another on every kind of processor.
"""

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from parity.keyfill import fill_
from semiovs.models import Segmenter, build_segmenter
from semiovs.models.tiling import covered, predict_logits

GOLDENS = Path(__file__).parent / "goldens" / "deeplab"
#: name in the recording -> (encoder, classes, stride of the recorded logits, recorded levels among the backbone's maps)
NETWORKS = {
    "resnet50": ("resnet50s", 21, 4, (1, 2, 3, 4)),
    "resnet101": ("resnet101s", 21, 4, (1, 2, 3, 4)),
    "xception": ("xception65", 81, 8, (0, 1)),
}
CASES = [(name, size) for name in NETWORKS for size in ((65, 65), (96, 64)) if name != "xception" or size == (65, 65)]

#: Largest deviation as a share of the largest magnitude.
FLOAT32, FLOAT64 = 1e-5, 1e-6


@pytest.fixture(scope="module")
def recorded():
    with np.load(GOLDENS / "model_forward.npz") as file:
        return dict(file)


def generator(name: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([7, zlib.crc32(name.encode())]))


def image(size: tuple[int, int]) -> Tensor:
    shape = (2, 3, *size)
    values = generator(f"model_in_{size[0]}x{size[1]}").standard_normal(int(np.prod(shape)))
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def keep_mask(x: Tensor) -> Tensor:
    keep = generator(f"dropout2d_c{x.shape[1]}").random(x.shape[0] * x.shape[1]).reshape(x.shape[:2]) < 0.5
    return torch.from_numpy(keep)


def perturbed_dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    assert (p, training, inplace) == (0.5, True, False)
    return x * keep_mask(x)[:, :, None, None] * 2.0


def network(name: str, training: bool) -> Segmenter:
    encoder, classes, _, _ = NETWORKS[name]
    model = build_segmenter("deeplabv3plus", num_classes=classes, encoder=encoder)
    fill_(model, 0)
    return model.double().train() if training else model.eval()


def assert_near(actual: Tensor | float, expected: np.ndarray, rtol: float) -> None:
    """Largest deviation below `rtol` of the largest magnitude (activations cross zero)."""
    actual, expected = np.asarray(actual, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= rtol * np.abs(expected).max()


def test_inputs_follow_the_rule(recorded):
    np.testing.assert_array_equal(image((65, 65)).flatten()[:16], recorded["input_sample/model_in_65x65"])
    for channels in (256, 2048):
        keep = keep_mask(torch.empty(2, channels, 1, 1))
        np.testing.assert_array_equal(keep, recorded[f"dropout_keep/c{channels}_n2"])


@pytest.mark.parametrize(("name", "size"), CASES)
@torch.no_grad()
def test_evaluation_forward(recorded, name, size):
    model, x, prefix = network(name, training=False), image(size), f"{name}/{size[0]}x{size[1]}/eval"
    _, _, stride, levels = NETWORKS[name]
    maps = model.backbone(x)
    for index, level in enumerate(levels):
        feature = maps[level]
        assert list(feature.shape) == recorded[f"{prefix}_feat{index}_shape"].tolist()
        assert_near(feature.double().norm(), recorded[f"{prefix}_feat{index}_norm"], FLOAT32)
        sample = feature.flatten()[:: max(feature.numel() // 64, 1)][:64]
        assert_near(sample, recorded[f"{prefix}_feat{index}_sample"], FLOAT32)
    logits = model(x)
    assert_near(logits[:, :, ::stride, ::stride], recorded[f"{prefix}_logits_s{stride}"], FLOAT32)
    assert_near(logits.double().norm(), recorded[f"{prefix}_logits_norm"], FLOAT32)


@pytest.mark.parametrize(("name", "size"), CASES)
@torch.no_grad()
def test_training_forward(recorded, monkeypatch, name, size):
    """Logits and running statistics; then clean and perturbed maps decoded as one doubled batch: BatchNorm sees both."""
    monkeypatch.setattr(torch.nn.functional, "dropout2d", perturbed_dropout)
    model, prefix, stride = network(name, training=True), f"{name}/{size[0]}x{size[1]}/train", NETWORKS[name][2]
    features = model.encode(image(size).double())
    logits = model.decode(features, size)
    assert_near(logits[:, :, ::stride, ::stride], recorded[f"{prefix}_logits_s{stride}"], FLOAT64)
    assert_near(logits.norm(), recorded[f"{prefix}_logits_norm"], FLOAT64)
    assert_near(model.fuse[1].running_mean.norm(), recorded[f"{prefix}_after_running_mean_norm"], FLOAT64)
    assert_near(model.fuse[1].running_var.norm(), recorded[f"{prefix}_after_running_var_norm"], FLOAT64)
    dropped = [torch.nn.functional.dropout2d(f, 0.5) for f in features]
    doubled = tuple(torch.cat(pair) for pair in zip(features, dropped, strict=True))
    clean, perturbed = model.decode(doubled, size).chunk(2)
    assert_near(clean[:, :, ::stride, ::stride], recorded[f"{prefix}_fp_logits_s{stride}"], FLOAT64)
    assert_near(perturbed[:, :, ::stride, ::stride], recorded[f"{prefix}_fp_pert_logits_s{stride}"], FLOAT64)


class ContextNet(torch.nn.Module):
    """The recorded network of the evaluation modes: its output depends on all of the image it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 19, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(torch.tanh(x + 3 * x.mean((2, 3), keepdim=True)))


def iou_over(recorded: dict[str, np.ndarray], **how) -> np.ndarray:
    """IoU in percent per class over the two recorded images; written out here, independent of the library's metric."""
    net = ContextNet()
    fill_(net, 4)
    hits = np.zeros((19, 19))
    for index in (0, 1):
        image = torch.from_numpy(recorded[f"eval/img{index}"].astype(np.float32))
        target = torch.from_numpy(recorded[f"eval/mask{index}"].astype(np.int64))
        with torch.no_grad():
            prediction = predict_logits(net, image, **how).argmax(1)
        size = (image.shape[-2], image.shape[-1])
        rows, columns = covered(size, mode=how["mode"], window=how.get("window"))
        target = target[:, rows, columns]
        valid = target != 255
        pairs = target[valid] * 19 + prediction[valid]
        hits += np.bincount(pairs.numpy(), minlength=19 * 19).reshape(19, 19)
    intersection = np.diag(hits)
    return 100 * intersection / (hits.sum(0) + hits.sum(1) - intersection + 1e-10)


EVALUATIONS = {
    "v1_original": {"mode": "whole"},
    "v1_center_crop": {"mode": "center_crop", "window": 48},
    "v1_sliding_window": {"mode": "sliding", "window": 48, "edge": "truncate"},
    "v2_original_multNone": {"mode": "whole"},
    "v2_original_mult14": {"mode": "resize", "multiple": 14},
    "v2_original_mult512": {"mode": "resize", "size": (512, 512)},
    "v2_sliding_window_multNone": {"mode": "sliding", "window": 48},
}


@pytest.mark.parametrize("name", EVALUATIONS)
def test_evaluation_modes(name):
    with np.load(GOLDENS / "functions.npz") as file:
        recorded = {key: file[key] for key in file.files if key.startswith("eval/")}
    iou = iou_over(recorded, **EVALUATIONS[name])
    np.testing.assert_allclose(iou, recorded[f"eval/{name}_iou"], atol=1e-3)
    np.testing.assert_allclose(iou.mean(), recorded[f"eval/{name}_mIoU"], atol=1e-3)
