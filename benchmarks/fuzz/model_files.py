"""Targets that hold weights or what was learnt: checkpoints, safetensors, exports, calibrations, files of runs."""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch
from safetensors.torch import save

from semiovs.calibration.calibration import Calibration, ClassRule
from semiovs.config import load_config
from semiovs.exchange.annotation_file import AnnotationFile
from semiovs.images.discover.discover import discover
from semiovs.models import build_segmenter
from semiovs.models.published_checkpoints import read_published
from semiovs.models.weights import ModelCard, load_model, read_checkpoint, save_model
from semiovs.run_page.page import write_run_page
from semiovs.vocab import Vocabulary

VOCABULARY = Vocabulary.of(["sky", "road", "car"])
_OPTIONS = {"encoder": "tiny", "channels": 16, "dilations": [1, 2, 3]}


def _card() -> ModelCard:
    return ModelCard("deeplabv3plus", 3, VOCABULARY, _OPTIONS, training={"step": 3, "image_size": [32, 32]})


def _segmenter() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_segmenter("deeplabv3plus", num_classes=3, **_OPTIONS)


def portable(folder: Path) -> list[bytes]:
    """A model of ours as safetensors."""
    path = folder / "made.safetensors"
    save_model(path, _segmenter(), _card())  # type: ignore[arg-type]
    data = path.read_bytes()
    path.unlink()
    return [data]


def read_model(path: Path) -> None:
    load_model(path)


def checkpoint(folder: Path) -> list[bytes]:
    """A training checkpoint."""
    state = {f"student.{name}": value for name, value in _segmenter().state_dict().items()}
    out = io.BytesIO()
    torch.save({"card": _card().as_json(), "method": state, "step": 3}, out)
    return [out.getvalue()]


def read_training(path: Path) -> None:
    """As to resume, and to predict."""
    read_checkpoint(path)
    load_model(path)


def published(folder: Path) -> list[bytes]:
    """Weights of other programs as torch files: a state dict, wrapped, and the old form."""
    state = {"backbone.conv1.weight": torch.zeros(4, 3, 3, 3), "classifier.weight": torch.zeros(3, 4, 1, 1)}
    out = [io.BytesIO(), io.BytesIO()]
    torch.save({"model": {f"module.{name}": value for name, value in state.items()}}, out[0])
    torch.save(state, out[1], _use_new_zipfile_serialization=False)
    return [each.getvalue() for each in out]


def read_foreign(path: Path) -> None:
    """As `semiovs convert`."""
    read_published(path)


def bare(folder: Path) -> list[bytes]:
    """Weights of other programs as safetensors."""
    return [save({"backbone.conv1.weight": torch.zeros(4, 3, 3, 3)}, {"format": "pt"})]


def calibration(folder: Path) -> list[bytes]:
    """What `semiovs calibrate` writes."""
    curve = tuple(range(256))
    rules = tuple(ClassRule(name, 100, 50, curve, "controlled", 3, 0.5, 0.9) for name in VOCABULARY.names)
    made = Calibration(VOCABULARY, {"name": "t", "options": {}}, 0.1, "global", rules, {"images": 3})
    return [json.dumps(made.as_json()).encode()]


def read_calibration(path: Path) -> None:
    """Also where its checksum was made to hold, as whoever wants harm does."""
    try:
        data = json.loads(path.read_bytes())
        data["hash"] = Calibration.from_json({**data, "hash": None}).hash
    except Exception as error:  # `from_json` refuses by saying that the checksum does not fit
        del error
    Calibration.load(path)


def metrics(folder: Path) -> list[bytes]:
    """``metrics.jsonl`` of a run."""
    config = load_config(
        None, [f"data.root={folder}", "data.classes=[sky, road, car]", "data.labeled=x.txt", "train.steps=4"]
    )
    (folder / "config.yaml").write_text(config.dump(), "utf-8")
    rows: list[dict[str, object]] = [
        {
            "kind": "train",
            "step": 2,
            "epoch": 1,
            "loss": 1.5,
            "term/ce": 1.5,
            "lr/0": 0.1,
            "wall/seconds": 3.0,
            "wall/images_per_second": 2.0,
            "log/pseudo": {"sky": 0.5, "road": 0.5},
        },
        {
            "kind": "eval",
            "step": 4,
            "model": "ema",
            "miou": 40.0,
            "iou": {"sky": 40.0, "road": None, "car": 3.0},
            "best": True,
        },
        {"kind": "note", "step": 4, "on": "eval", "text": "x"},
        {"kind": "held_out", "step": 4, "model": "ema", "miou": 30.0},
    ]
    return ["".join(json.dumps(row) + "\n" for row in rows).encode()]


def read_run(path: Path) -> None:
    """Write the page of the run."""
    write_run_page(path.parent, path.parent / "page.html")


def class_files(folder: Path) -> list[bytes]:
    """``classes.yaml`` of a folder that `semiovs init` looks at."""
    from benchmarks.fuzz.text_files import manifest

    manifest(folder)
    return [b"classes: {1: person, 7: car}\n", b"names: [a, b]\n"]


def nnunet(folder: Path) -> list[bytes]:
    """``dataset.json`` of nnU-Net."""
    class_files(folder)
    return [
        b'{"channel_names": {"0": "R"}, "labels": {"background": 0, "car": 7}, "numTraining": 2, "file_ending": ".png"}'
    ]


def look_at_folder(path: Path) -> None:
    """As `semiovs init` looks at it."""
    discover(path.parent)


def read_document(path: Path) -> None:
    AnnotationFile.read(path)
