"""SemiVL's model, guide, windows and geometry against numbers recorded from the reference program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional as F

from parity.keyfill import state_dict_for, tensor_for
from parity.semivl_inputs import GOLDENS, fill_tower, gauss, image, ints, made_up_text
from parity.semivl_model import COUNTS, published, small_segmenter
from semiovs.data.fast import crop as fast_crop
from semiovs.data.fast import crop_labels as fast_labels
from semiovs.data.reference import crop, crop_labels
from semiovs.data.transforms import Geometry, fit_size
from semiovs.evaluation import ConfusionMatrix
from semiovs.models import build_segmenter
from semiovs.models.clip_vit import DenseClipViT, as_semivl
from semiovs.models.convert import load_reference
from semiovs.models.decoders.vlg import VlgDecoder
from semiovs.models.sed.dense_encoder import CLIP_NORMALIZATION
from semiovs.models.segmenter import Normalization
from semiovs.models.semivl.guide import Guide
from semiovs.models.semivl.tower import renormalize
from semiovs.models.semivl_layout import to_segmenter
from semiovs.models.tiling import average_windows, predict_logits


@pytest.fixture(autouse=True, scope="module")
def _one_thread(_threads_of_the_recordings: None) -> None:
    """No BatchNorm here: the last digits of sums do not matter, and a busy machine is three times slower with two."""
    torch.set_num_threads(1)


LAYOUTS = Path(__file__).parent / "layouts"
#: The published text embeddings stand beside the specifications and are not ours to commit.
TEXTS = Path(__file__).parents[3] / "shared" / "goldens" / "semivl" / "text_embeddings.npz"


def golden(name: str) -> dict[str, Any]:
    with np.load(GOLDENS / f"{name}.npz") as file:
        return dict(file)


def close(ours: Tensor, theirs: np.ndarray, tolerance: float) -> None:
    torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=0, atol=tolerance)


@torch.no_grad()
def test_full_backbone() -> None:
    recorded = golden("a_backbone_full")
    tower = VisionTransformer(512, 16, width=768, layers=12, heads=12, mlp_ratio=4, output_dim=512)
    fill_tower(tower, "backbone")
    skip0, skip4, dense = DenseClipViT(as_semivl(tower), (0, 4)).eval()(image("a.full", 1, 112, 112))
    close(skip0[:, ::8], recorded["skip0"], 1e-4)
    close(skip4[:, ::8], recorded["skip4"], 1e-4)
    close(dense, recorded["dense"], 1e-5)


@pytest.mark.skipif(not TEXTS.is_file(), reason="needs the published text embeddings")
@pytest.mark.parametrize(("tag", "grid"), [("even", (8, 8)), ("odd", (9, 13))])
@torch.no_grad()
def test_full_decoder(tag: str, grid: tuple[int, int]) -> None:
    recorded = golden("b_vlg_head")
    with np.load(TEXTS) as file:
        text = torch.from_numpy(file["voc12_wbg_single"].astype(np.float32))
    decoder = VlgDecoder(512, [768, 768]).eval()
    layout = json.loads((LAYOUTS / "semivl_voc.json").read_text())
    state = to_segmenter(state_dict_for({k: v for k, v in layout.items() if k.startswith("decode_head.")}))
    decoder.load_state_dict({k.removeprefix("decoder."): v for k, v in state.items()})
    skips = [gauss(f"b.{tag}.skip{i}", (1, 768, *grid)) for i in (4, 0)]
    label = torch.from_numpy(ints(f"b.{tag}.lab", (1, *grid), 21))
    dense = 0.03 * gauss(f"b.{tag}.dense", (1, 512, *grid)) + text[label].permute(0, 3, 1, 2)
    logits = decoder(dense, skips, text)
    close(logits, recorded[f"{tag}.logits"], 1e-4)
    square = F.interpolate(logits, size=(512, 512), mode="bilinear", align_corners=False)
    close(square[:, :, ::32, ::32], recorded[f"{tag}.pred_masks_s32"], 1e-4)


@pytest.fixture(scope="module")
def guide() -> Guide:
    tower = VisionTransformer(128, 16, width=64, layers=3, heads=4, mlp_ratio=4, output_dim=512)
    fill_tower(tower, "clip_encoder")
    made = Guide(DenseClipViT(as_semivl(tower)), known=True, given=Normalization(), wanted=None)
    made.tell(made_up_text("text98", 98), COUNTS)
    return made


def test_guide(guide: Guide) -> None:
    recorded = golden("c_maskclip")
    confidence, label = guide(image("c.img", 2, 128, 128)).softmax(dim=1).max(dim=1)
    assert (label.numpy() != recorded["argmax"]).mean() <= 1e-3
    np.testing.assert_allclose(confidence, recorded["conf"].astype(np.float32), atol=1e-3)
    for threshold, key in ((0.9, "pseudo"), (0.5, "pseudo_t05")):
        assert (label.where(confidence >= threshold, 255).numpy() != recorded[key]).mean() <= 1e-3


def test_renormalisation(guide: Guide) -> None:
    close(
        renormalize(image("c.img", 2, 128, 128), Normalization(), CLIP_NORMALIZATION)[:, :, ::8, ::8],
        golden("c_renorm")["x"],
        1e-5,
    )
    other = Guide(guide.tower, known=True, given=Normalization(), wanted=CLIP_NORMALIZATION)
    other.tell(made_up_text("text98", 98), COUNTS)
    x = image("c.img", 2, 128, 128)
    assert other(x).equal(guide(renormalize(x, Normalization(), CLIP_NORMALIZATION)))


class Pointwise:
    """The fake model of the recorded windows; counts what it is asked."""

    def __init__(self) -> None:
        self.windows = 0

    def __call__(self, part: Tensor) -> Tensor:
        self.windows += 1
        y, x = (torch.linspace(-1, 1, side) for side in part.shape[-2:])
        pixels, places = gauss("e.W", (21, 3)), gauss("e.U", (21, 2))[..., None, None]
        return torch.einsum("kc,bchw->bkhw", pixels, part) + places[:, 0] * y[:, None] + places[:, 1] * x


#: case -> image, mask, window, stride
ZEG = {
    "zeg_voc": ((171, 128), (128, 96), 128, 106),
    "zeg_wide": ((128, 400), (300, 937), 128, 106),
    "zeg_one": ((128, 128), (75, 75), 128, 106),
}


def windowed(case: str, size: tuple[int, int]) -> tuple[Tensor, dict[str, Any]]:
    made = F.interpolate(gauss(f"e.{case}", (1, 3, 9, 11)), size=size, mode="bicubic", align_corners=False)
    return made, {k.removeprefix(f"{case}."): v for k, v in golden("e_sliding").items() if k.startswith(case)}


@pytest.mark.parametrize("case", ZEG)
def test_windows_whose_logits_are_averaged(case: str) -> None:
    size, mask, window, stride = ZEG[case]
    seen, recorded = windowed(case, size)
    model = Pointwise()
    logits = predict_logits(model, seen, mode="sliding", window=window, stride=stride, average="logits")
    assert model.windows == recorded["n_windows"]
    final = F.interpolate(logits, size=mask, mode="bilinear", align_corners=True)
    close(final[:, :, ::9, ::9], recorded["final_s9"], 1e-4)
    assert (final.argmax(1).numpy() != recorded["pred"]).mean() <= 1e-3


@pytest.mark.parametrize(("case", "stride"), [("sw_city", None), ("padsw", 66)])
def test_windows_whose_probabilities_are_added_up(case: str, stride: int | None) -> None:
    """The reference does not divide by the number of windows, which changes no label."""
    seen, recorded = windowed(case, (128, 256))
    model = Pointwise()

    def probabilities(part: Tensor) -> Tensor:
        height, width = part.shape[-2:]
        padded = F.pad(part, (0, 100 - width, 0, 100 - height)) if case == "padsw" else part
        return model(padded)[..., :height, :width].softmax(dim=1)

    step = stride or int(100 * 2 / 3)
    mean = average_windows(probabilities, seen, window=100, stride=step, edge="truncate")
    assert model.windows == recorded["n_windows"]
    ones = torch.ones(1, 1, 128, 256)
    counts = torch.zeros_like(ones)
    for top in range(0, 128, step):
        for left in range(0, 256, step):
            counts[..., top : top + 100, left : left + 100] += 1
    close((mean * counts)[:, :, ::9, ::9], recorded["final_s9"], 1e-4)
    assert (mean.argmax(1).numpy() != recorded["pred"]).mean() <= 1e-3
    if case == "sw_city":
        logits = predict_logits(Pointwise(), seen, mode="sliding", window=100, edge="truncate")
        assert logits.argmax(1).equal(mean.argmax(1))


@torch.no_grad()
def test_windows_of_the_real_model(tmp_path: Path) -> None:
    recorded = golden("e2_sliding_real_model")
    small = small_segmenter(tmp_path, image_size=100)
    load_reference(small, published(small), family="semivl")
    seen = image("e2.img", 1, 132, 198)
    close(small(seen[:, :, 66:, :100])[:, :, ::8, ::8], recorded["edge_logits_s8"], 2e-4)
    logits = predict_logits(small, seen, mode="sliding", window=100, edge="truncate")
    assert (logits.argmax(1).numpy() != recorded["sw_pred"]).mean() <= 1e-3
    total = logits.exp() * counts_of(seen, 100, 66)
    close(total[:, :, ::8, ::8], recorded["sw_final_s8"], 1e-4)

    other = small_segmenter(tmp_path, image_size=128)
    load_reference(other, published(other), family="semivl")
    logits = predict_logits(
        other, image("e2.img2", 1, 112, 200), mode="sliding", window=128, stride=106, average="logits"
    )
    final = F.interpolate(logits, size=(90, 161), mode="bilinear", align_corners=True)
    close(final[:, :, ::8, ::8], recorded["zeg_final_s8"], 2e-4)
    assert (final.argmax(1).numpy() != recorded["zeg_pred"]).mean() <= 1e-3


def counts_of(seen: Tensor, window: int, stride: int) -> Tensor:
    counts = torch.zeros(1, 1, *seen.shape[-2:])
    for top in range(0, seen.shape[-2], stride):
        for left in range(0, seen.shape[-1], stride):
            counts[..., top : top + window, left : left + window] += 1
    return counts


def test_metric() -> None:
    recorded = golden("e_metric_resize")
    prediction = ints("e.metric.pred", (2, 40, 50), 21)
    truth = np.where(ints("e.metric.mix", (2, 40, 50), 3) > 0, prediction, ints("e.metric.gt", (2, 40, 50), 21))
    truth[:, :5] = 255
    matrix = ConfusionMatrix(21)
    matrix.update(torch.from_numpy(prediction), torch.from_numpy(truth))
    hit = np.diagonal(matrix.counts)
    np.testing.assert_array_equal(hit, recorded["inter"])
    np.testing.assert_array_equal(matrix.counts.sum(1), recorded["target"])
    np.testing.assert_array_equal(matrix.counts.sum(0) + matrix.counts.sum(1) - hit, recorded["union"])
    np.testing.assert_allclose(matrix.iou(), 100 * recorded["iou"] if recorded["iou"].max() <= 1 else recorded["iou"])


def test_geometry_of_the_training_resize() -> None:
    recorded = json.loads((GOLDENS / "e_resize_geometry.json").read_text())
    assert [len(row["train"]) for row in recorded] == [4] * 10
    for row in recorded:
        height, width = row["hw"]
        for u, (rows, columns) in row["train"]:
            assert fit_size((width, height), (2048, 512), 0.5 + 1.5 * u) == (columns, rows)


def test_geometry_of_the_evaluation() -> None:
    seen: list[tuple[int, int]] = []

    def model(part: Tensor) -> Tensor:
        seen.append((part.shape[-2], part.shape[-1]))
        return part

    recorded = json.loads((GOLDENS / "e_resize_geometry.json").read_text())
    assert len(recorded) == 10
    for row in recorded:
        out = predict_logits(model, torch.zeros(1, 3, *row["hw"]), short_side=512)
        assert seen.pop() == tuple(row["val_hw"])
        assert out.shape[-2:] == torch.Size(row["hw"])


@pytest.mark.parametrize(("cut", "paint"), [(crop, crop_labels), (fast_crop, fast_labels)], ids=["reference", "fast"])
def test_pixels_of_the_training_resize(cut: Any, paint: Any) -> None:
    from PIL import Image

    recorded = golden("e_metric_resize")
    size = fit_size((53, 37), (160, 40), 0.65)
    geometry = Geometry(size, 40, 0, 0, flip=False, plain=True)
    assert size == recorded["resized_mask"].shape[::-1]
    pixels = Image.fromarray(ints("e.resize.img", (37, 53, 3), 256).astype(np.uint8))
    mask = ints("e.resize.mask", (37, 53), 21).astype(np.uint8)
    made = np.asarray(cut(pixels, geometry))[:26, :37].astype(int)
    # OpenCV 4 rounds positions to 1/32 pixel: 2 axes x 1/64 x 255 levels; version 5 does not
    fast_limit = 8 if cv2.__version__.startswith("4.") else 1
    assert np.abs(made - recorded["resized_img"]).max() <= (0 if cut is crop else fast_limit)
    np.testing.assert_array_equal(paint(mask, geometry, 255)[:26, :37], recorded["resized_mask"])


def test_published_layout_loads_strictly() -> None:
    """Every tensor of the published file finds its place; the guide's go to the method's guide."""
    layout = json.loads((LAYOUTS / "semivl_voc.json").read_text())
    model = build_segmenter("semivl", num_classes=21)
    state = {name: torch.zeros(shape) for name, shape in layout.items()}
    key = "decode_head.layers.1.transformer.ffn.layers.1.weight"
    state[key] = tensor_for(key, tuple(layout[key]))
    report = load_reference(model, {"model": {f"module.{k}": v for k, v in state.items()}}, family="semivl")
    assert report.ok
    assert len(report.loaded) == sum(not name.startswith("clip_encoder.") for name in layout)
    assert model.decoder.layers[1].mlp[2].weight.equal(state[key])
    assert sum(p.numel() for p in model.backbone.parameters()) == 86_828_544
    assert sum(p.numel() for p in model.decoder.parameters()) == 2_217_185
    assert sum(p.numel() for p in model.backbone.parameters() if p.requires_grad) == 29_135_616


def test_optimiser_groups() -> None:
    """The recorded rates; what the reference lists with a rate but never trains is in no group here."""
    from semiovs.config.schema import OptimConfig
    from semiovs.methods import build_method

    recorded = json.loads((LAYOUTS / "semivl_voc_param_groups.json").read_text())
    names = {name: torch.empty(shape) for name, shape in json.loads((LAYOUTS / "semivl_voc.json").read_text()).items()}
    theirs = {to: name for name in names for to in to_segmenter({name: names[name]})}
    model = build_segmenter("semivl", num_classes=21)
    method = build_method("semivl", model, num_classes=21, guidance=[0, 0])
    (optimizer,) = method.optimizers(OptimConfig(name="adamw", lr=1e-6, head_lr_multiplier=1000, weight_decay=0.01))
    rates = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    for name, parameter in model.named_parameters():
        lr, decay, trained = recorded[theirs[name]]
        assert parameter.requires_grad == trained, name
        assert (id(parameter) in rates) == trained, name
        if trained:
            assert rates[id(parameter)] == pytest.approx((lr, decay)), name
    assert len(rates) == sum(p.requires_grad for p in method.parameters())
