"""The data of a run are part of the run: what a fingerprint notices, and what happens to a run whose data changed."""

import json
import shutil
from dataclasses import replace

import pytest
from PIL import Image

from semiovs.cli.app import main
from semiovs.engine.data_fingerprint import DataFingerprint
from semiovs.engine.run import read_metrics
from semiovs.engine.run_data import describe_other_classes, describe_other_size
from semiovs.images.manifest import Manifest
from semiovs.models.weights import read_checkpoint
from semiovs.vocab import Vocabulary
from unit import toy_data

SMALL = [
    *toy_data.SMALL_RUN,
    "train.save_every=1",
    "train.keep_last=9",
    "train.eval_every=4",
    "run.log=[]",
]


def find(root) -> DataFingerprint:
    return DataFingerprint.of(toy_data.sources(root))


@pytest.fixture
def root(tmp_path):
    root = toy_data.make(tmp_path / "data")
    (root / "semiovs.yaml").write_text("data: {root: .}\n")
    return root


def test_the_same_data_elsewhere_have_the_same_fingerprint(root, tmp_path):
    first = find(root)
    shutil.copytree(root, tmp_path / "moved", copy_function=shutil.copyfile)  # other times
    assert find(tmp_path / "moved").digest == first.digest
    assert first.size == (40, 30)
    first.write(tmp_path / "data.json")
    again = DataFingerprint.read(tmp_path / "data.json")
    assert again == first
    assert again.digest == first.digest


def test_every_kind_of_change_is_told_by_stream_and_id(root):
    before = find(root)
    (root / "images/l0.png").unlink()
    (root / "masks/l0.png").unlink()
    toy_data.image(root / "unlabeled/new.png", 1)
    toy_data.image(root / "val/images/v1.png", 1, (40, 31))
    toy_data.mask(root / "val/masks/v1.png", 1, (40, 31))
    toy_data.mask(root / "ood-labels/o2.png", 77)
    assert before.differences(find(root)) == [
        "labelled: 1 of 5 removed: l0",
        "unlabelled: 1 of 8 added: new",
        "evaluation: 1 of 2 changed: v1",
        "OOD: 1 of 4 changed: o2",
    ]


def test_a_mask_of_the_same_length_with_other_bytes_is_a_change(root):
    path = root / "masks/l1.png"
    before, data = find(root), bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    assert before.differences(find(root)) == ["labelled: 1 of 5 changed: l1"]


def test_masks_that_a_list_names_and_nothing_reads_do_not_count(root):
    """A list of OOD images that names masks which are not there, as published ones do: the labels lie elsewhere."""
    collection = toy_data.sources(root)
    assert collection.ood is not None
    named = Manifest([replace(record, mask=root / "nowhere.png") for record in collection.ood], root)
    assert DataFingerprint.of(toy_data.changed(collection, ood=named)).digest == DataFingerprint.of(collection).digest


def test_another_order_is_a_change(root):
    collection = toy_data.sources(root)
    other = toy_data.changed(collection, labeled=Manifest(list(collection.labeled)[::-1], root))
    first, second = DataFingerprint.of(collection), DataFingerprint.of(other)
    assert first.digest != second.digest
    assert "another order" in first.differences(second)[0]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 7}', '{"format": 1, "streams": [1]}', "[" * 100_000])
def test_a_damaged_file_is_none(tmp_path, text):
    (tmp_path / "data.json").write_text(text)
    assert DataFingerprint.read(tmp_path / "data.json") is None


def start(root, run) -> None:
    """A run of four steps that has lost its last two."""
    assert main(["train", str(root), *SMALL, f"run.dir={run}"]) == 0
    for path in (run / "checkpoints").iterdir():
        if path.name.startswith(("step-00000003", "step-00000004", "last", "best")):
            path.unlink()


def test_other_data_are_refused_and_told_unless_that_is_meant(root, tmp_path, capsys):
    run = tmp_path / "run"
    start(root, run)
    digest = read_checkpoint(run / "checkpoints/step-00000002.pt")["data"]
    assert digest == DataFingerprint.read(run / "data.json").digest
    (root / "images/l0.png").unlink()
    (root / "masks/l0.png").unlink()
    capsys.readouterr()
    assert main(["resume", str(run)]) == 3
    told = capsys.readouterr().err
    assert "labelled: 1 of 5 removed: l0" in told
    assert "--changed-data" in told
    assert len([line for line in told.splitlines() if line.startswith("error:")]) == 1
    assert main(["resume", str(run), "--changed-data"]) == 0
    assert "from step 2 on this is not the same run any more" in capsys.readouterr().err
    assert "not the same run any more" in (run / "log.txt").read_text()
    rows = [row for row in read_metrics(run / "metrics.jsonl") if row["kind"] == "data"]
    assert rows == [{"kind": "data", "step": 2, "changes": ["labelled: 1 of 5 removed: l0"]}]
    assert read_checkpoint(run / "checkpoints/step-00000004.pt")["data"] not in ("", digest)
    assert main(["resume", str(run)]) == 0  # these are its data now


def test_moved_data_are_the_same_and_a_root_that_is_gone_is_named(root, tmp_path, capsys):
    run, moved = tmp_path / "run", tmp_path / "moved"
    start(root, run)
    root.rename(moved)
    assert main(["resume", str(run)]) == 3
    assert "data.root=DIR" in capsys.readouterr().err
    assert main(["resume", str(run), f"data.root={moved}"]) == 0


def test_a_run_without_a_fingerprint_goes_on_with_one_line(root, tmp_path, capsys):
    run = tmp_path / "run"
    start(root, run)
    (run / "data.json").write_text("{}")
    assert main(["resume", str(run)]) == 0  # the checkpoint holds the digest
    (run / "data.json").unlink()
    toy_data.image(root / "unlabeled/new.png", 1)
    assert main(["resume", str(run)]) == 3
    assert "missing or damaged" in capsys.readouterr().err
    import torch

    for path in (run / "checkpoints").glob("step-*.pt"):
        state = torch.load(path, weights_only=True)
        del state["data"]
        torch.save(state, path)
        path.with_name(f"{path.name}.sha256").write_text(f"{_sha256(path)}  {path.name}\n")
    assert main(["resume", str(run)]) == 0
    assert "kept no fingerprint" in capsys.readouterr().err


def _sha256(path):
    from semiovs.files import sha256_of

    return sha256_of(path)


def test_images_of_another_size_are_told_once(root, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", str(root), *SMALL, f"run.dir={run}"]) == 0
    Image.new("RGB", (200, 150)).save(tmp_path / "big.png")
    Image.new("RGB", (40, 33)).save(tmp_path / "same.png")
    for weights in (run, run / "checkpoints/best.pt", shutil.copy(run / "model.safetensors", tmp_path)):
        capsys.readouterr()
        assert (
            main(["predict", str(weights), str(tmp_path / "big.png"), "--out", str(tmp_path / "p"), "--overwrite"]) == 0
        )
        assert "about 200x150 pixels, those of the training were about 40x30" in capsys.readouterr().err
        assert (
            main(["predict", str(weights), str(tmp_path / "same.png"), "--out", str(tmp_path / "p"), "--overwrite"])
            == 0
        )
        assert "pixels" not in capsys.readouterr().err
    for i in range(2):
        toy_data.image(root / f"val/images/v{i}.png", i, (10, 12))
        toy_data.mask(root / f"val/masks/v{i}.png", i, (10, 12))
    assert main(["evaluate", str(run), "--json"]) == 0
    told = capsys.readouterr()
    assert "about 10x12 pixels" in told.err
    assert json.loads(told.out)


def test_no_size_no_line(tmp_path):
    assert describe_other_size(None, [tmp_path]) is None
    assert describe_other_size((3, 3), [tmp_path / "nothing.png"]) is None
    assert describe_other_size((3, 3), []) is None


def test_classes_that_changed_since_the_training_are_told(root, tmp_path):
    trained, run = Vocabulary.of(["sky", "road", "car"]), tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text(f"data: {{root: '{root}'}}\n")
    assert describe_other_classes(run, trained) is None
    (root / "classes.txt").write_text("sky\ncar\nroad\n")
    for source in (run, run / "checkpoints/best.pt"):
        told = describe_other_classes(source, trained)
        assert "config.yaml has other classes today than the model was trained on: the same names in another" in told
    shutil.rmtree(root)
    assert describe_other_classes(run, trained) is None
    assert describe_other_classes(tmp_path / "m.safetensors", trained) is None
