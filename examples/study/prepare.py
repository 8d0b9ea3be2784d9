"""Make the study's folder: half-size images, lists, the teacher's labels, raw and calibrated, and a choice of images.

    python examples/study/prepare.py DATA WORK

DATA holds ``camvid``, ``labelmefacade`` and ``coco128`` (``images`` beside index masks; CamVid: its ``splits``),
``scores_ade20k`` with a score map an image, and ``weights`` (docs/photographs.md says what each is). What is there already is
kept.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from semiovs.files import write_text

HERE = Path(__file__).resolve().parent
SETS = ("camvid", "labelmefacade", "coco128")
#: Labelled images of CamVid, and labelled and evaluation images of the reverse target.
FEW, REVERSE, REVERSE_VAL = 12, 25, 150
#: Images from elsewhere that are selected: as many as the middle one of the lists of parts.
SELECTED = 300


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    given = parser.parse_args(arguments)
    source, data = given.data.absolute(), given.work.absolute() / "data"
    for name in SETS:
        shrink_images(source / name / "images", data / name / "images")
    shrink_masks(source / "camvid/labels", data / "camvid/masks")
    shrink_masks(source / "labelmefacade/labels_camvid", data / "labelmefacade/masks")
    write_text(data / "classes.txt", (source / "camvid/classes.txt").read_text(encoding="utf-8"))
    write_camvid_lists(source / "camvid/splits", data)
    write_facade_lists(source / "labelmefacade/splits", data)
    write_ood_lists(data)
    weights = source / "weights/efficientnet_lite0/timm_tf_efficientnet_lite0.safetensors"
    text = (HERE / "study.yaml").read_text(encoding="utf-8").replace("WEIGHTS", str(weights))
    write_text(data.parent / "study.yaml", text)
    label(data.parent, source / "scores_ade20k")
    select(data.parent, source / "scores_ade20k")
    return 0


def shrink_images(source: Path, target: Path) -> None:
    """Write every image at half its size, as PNG, which is decoded faster than it is worth compressing."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if not (to := target / f"{path.stem}.png").exists():
            with Image.open(path) as image:
                half = image.convert("RGB").resize(halve(image.size), Image.Resampling.BOX)
            half.save(to, compress_level=1)


def shrink_masks(source: Path, target: Path) -> None:
    """Write every index mask at half its size."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.png")):
        if not (to := target / path.name).exists():
            with Image.open(path) as mask:
                mask.resize(halve(mask.size), Image.Resampling.NEAREST).save(to)


def halve(size: tuple[int, int]) -> tuple[int, int]:
    """Half of a size, rounded up."""
    return (size[0] + 1) // 2, (size[1] + 1) // 2


def write_camvid_lists(splits: Path, data: Path) -> None:
    """23 labelled images (1/16) and 12 of them; all other training images are unlabelled."""
    labeled, unlabeled = read_ids(splits / "1_16/labeled.txt"), read_ids(splits / "1_16/unlabeled.txt")
    few = labeled[::2][:FEW]
    others = [name for name in labeled if name not in few]
    write_list(data / "labeled-23.txt", "camvid", labeled, masks=True)
    write_list(data / "unlabeled-23.txt", "camvid", unlabeled)
    write_list(data / "labeled-12.txt", "camvid", few, masks=True)
    write_list(data / "unlabeled-12.txt", "camvid", [*unlabeled, *others])
    write_list(data / "val.txt", "camvid", read_ids(splits / "val.txt"), masks=True)


def write_facade_lists(splits: Path, data: Path) -> None:
    """The reverse target: 25 labelled images, spread over the training list, 400 unlabelled and 150 evaluation images."""
    train, test = read_ids(splits / "train.txt"), read_ids(splits / "test.txt")
    labeled = train[:: max(1, len(train) // REVERSE)][:REVERSE]
    evaluated = test[:: max(1, len(test) // REVERSE_VAL)][:REVERSE_VAL]
    apart = {*labeled, *evaluated}
    write_list(data / "facades-labeled.txt", "labelmefacade", labeled, masks=True)
    write_list(data / "facades-unlabeled.txt", "labelmefacade", [n for n in [*train, *test] if n not in apart][:400])
    write_list(data / "facades-val.txt", "labelmefacade", evaluated, masks=True)


def write_ood_lists(data: Path) -> None:
    """Images from elsewhere: both sources mixed evenly, each alone, parts of both; CamVid and COCO for the reverse."""
    facades, coco, camvid = (list_images(data, name) for name in ("labelmefacade", "coco128", "camvid"))
    both = mix(facades, coco)
    lists = {"all": both, "facades": facades, "coco": coco, "reverse": mix(camvid, coco)}
    lists |= {str(count): [both[place * len(both) // count] for place in range(count)] for count in (100, 300, 1000)}
    for name, paths in lists.items():
        write_text(data / f"ood-{name}.txt", "".join(f"{path}\n" for path in paths))


def list_images(data: Path, name: str) -> list[str]:
    """Paths of a set's images."""
    return sorted(f"{name}/images/{path.name}" for path in (data / name / "images").iterdir())


def mix(one: Sequence[str], other: Sequence[str]) -> list[str]:
    """Both lists in one, each spread evenly over it."""
    placed = [(place / len(paths), path) for paths in (one, other) for place, path in enumerate(paths)]
    return [path for _, path in sorted(placed)]


def read_ids(path: Path) -> list[str]:
    """Names of a list's images."""
    return [Path(line.split()[0]).stem for line in path.read_text(encoding="utf-8").splitlines()]


def write_list(path: Path, name: str, images: Sequence[str], *, masks: bool = False) -> None:
    """Write a list of a set's images, with or without their masks."""
    lines = (f"{name}/images/{i}.png" + (f" {name}/masks/{i}.png" if masks else "") for i in images)
    write_text(path, "".join(f"{line}\n" for line in lines))


def label(work: Path, scores: Path) -> None:
    """Labels of all images from elsewhere, as the teacher gives them, and calibrated on the labelled images alone."""
    ask = ["--teacher", "masks", "--from", str(scores)]
    run("label", "study.yaml", "ood.images=ood-all.txt", *ask, "--out", "labels-raw", cwd=work)
    run("label", "study.yaml", "ood.images=ood-reverse.txt", *ask, "--out", "labels-reverse", cwd=work)
    for count in (23, 12):
        lists = (f"data.labeled=labeled-{count}.txt", f"data.unlabeled=unlabeled-{count}.txt")
        run("calibrate", "study.yaml", *lists, *ask, "--out", f"calibration-{count}.json", cwd=work)
        run("label", "study.yaml", "ood.images=ood-all.txt", *ask, "--calibration", f"calibration-{count}.json",
            "--out", f"labels-calibrated-{count}", cwd=work)  # fmt: skip


def select(work: Path, scores: Path) -> None:
    """The images from elsewhere that `semiovs select` takes: no copies, and rare classes as often as they can be had."""
    ask = ["--from", "data/ood-all.txt", "--scores", str(scores), "--budget", str(SELECTED), "--out", "selected-23"]
    run("select", "study.yaml", *ask, cwd=work)


def run(*words: str, cwd: Path) -> None:
    """Run a verb of semiovs; raises CalledProcessError if it fails."""
    print("semiovs", *words, flush=True)
    subprocess.run([sys.executable, "-m", "semiovs", *words], cwd=cwd, check=True)


if __name__ == "__main__":
    sys.exit(main())
