from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from semiovs.audit.check import check_collection
from semiovs.config.ood_section import OodConfig
from semiovs.config.schema import DataConfig
from semiovs.data import StepStream, ViewRequest
from semiovs.errors import ConfigError, DataError
from semiovs.registry import DATASETS, lookup
from semiovs.store import PseudoLabelStore
from semiovs.vocab import Vocabulary
from unit import toy_data


@pytest.fixture
def root(tmp_path):
    return toy_data.make(tmp_path)


def load(root, ood=None, **data):
    return lookup(DATASETS, "folder", kind="data set").load()(DataConfig(root=str(root), **data), ood).read()


def test_layout_by_convention(root):
    sources = load(root, OodConfig())
    assert sources.vocabulary.names == toy_data.NAMES
    counts = [len(m) for m in (sources.labeled, sources.unlabeled, sources.val, sources.ood)]
    assert counts == [5, 7, 2, 4]
    assert sources.ood_labels.label("o1").shape == (30, 40)
    check_collection(sources)


def test_only_labelled_images(root):
    for name in ("unlabeled", "val", "ood", "ood-labels"):
        shutil.rmtree(root / name)
    sources = load(root)
    assert (sources.unlabeled, sources.val, sources.ood, sources.ood_labels) == (None, None, None, None)
    check_collection(sources)


@pytest.mark.parametrize("left", [(), ("README.md", ".gitkeep", "below/Thumbs.db")])
def test_empty_folders_count_as_absent(root, left):
    for name in ("unlabeled", "val/images"):
        shutil.rmtree(root / name)
        for file in ("below/.hidden", *left):
            (root / name / file).parent.mkdir(parents=True, exist_ok=True)
            (root / name / file).touch()
    sources = load(root)
    assert (len(sources.labeled), sources.unlabeled, sources.val) == (5, None, None)
    (root / "unlabeled/a.heic").touch()
    with pytest.raises(DataError, match="unlabeled: no images in this folder"):
        load(root)
    (root / "unlabeled/a.heic").unlink()
    with pytest.raises(DataError, match="val/images: no images in this folder"):
        load(root, val="val")
    shutil.rmtree(root / "images")
    (root / "images").mkdir()
    with pytest.raises(DataError, match="images: this folder is empty; put images there"):
        load(root)


def test_lists_folders_and_absolute_paths(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    toy_data.image(elsewhere / "far.png", 1)
    (root / "labeled.txt").write_text("images/l0.png masks/l0.png\nimages/l1.png masks/l1.png\n")
    (root / "bare.txt").write_text("images/l2.png masks/l2.png\nunlabeled/u0.png\n")
    shutil.move(root / "val", root / "test")
    sources = load(root, labeled="labeled.txt", unlabeled="bare.txt", val="test", classes=["a", "b", "c"])
    assert [r.id for r in sources.labeled] == ["images/l0", "images/l1"]
    assert [r.mask for r in sources.unlabeled] == [None, None]
    assert [r.id for r in sources.val] == ["v0", "v1"]
    assert sources.vocabulary.names == ("a", "b", "c")
    check_collection(sources)
    assert [r.id for r in load(root, unlabeled=str(elsewhere)).unlabeled] == ["far"]
    assert [r.id for r in load(root, val="test/images").val] == ["v0", "v1"]


def test_root_in_the_data_directory(root, monkeypatch):
    monkeypatch.setenv("SEMIOVS_DATA", str(root.parent))
    monkeypatch.chdir("/")
    assert len(load(root.name).labeled) == 5


def test_class_files(root):
    (root / "classes.txt").rename(root / "names.txt")
    assert load(root, classes="names.txt").vocabulary.names == toy_data.NAMES
    assert load(root, classes=str(root / "names.txt")).vocabulary.names == toy_data.NAMES
    (root / "classes.yaml").write_text("classes: {sky: [sky, cloud], road: [road], car: [car, van]}")
    assert load(root).vocabulary.concepts[2] == ("car", "van")
    (root / "classes.yaml").unlink()
    with pytest.raises(ConfigError, match=r"data\.classes: not given, and .* holds no classes\.yaml or classes\.txt"):
        load(root)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"labeled": "nope.txt"}, r"data\.labeled: no such list or folder: .*nope\.txt"),
        ({"unlabeled": "nope"}, r"data\.unlabeled: no such list or folder: .*nope"),
        ({"val": "nope"}, r"data\.val: no such list or folder: .*nope"),
        ({"val": "unlabeled"}, r"^(?!.*no such).*\d+ of \d+ images have no mask"),
    ],
)
def test_missing_parts_are_named_by_their_key(root, data, words):
    with pytest.raises(DataError, match=words):
        load(root, **data)


def test_missing_folders(root):
    with pytest.raises(DataError, match=r"data\.root: no such folder: .*gone"):
        load(root / "gone", classes=["a"])
    shutil.rmtree(root / "ood")
    with pytest.raises(DataError, match=r"ood\.images: no such list or folder: .*ood"):
        load(root, OodConfig())
    shutil.rmtree(root / "images")
    with pytest.raises(DataError, match=r"images: no such folder; put images there .* or set data\.labeled"):
        load(root)


def test_missing_ood_labels(root):
    shutil.rmtree(root / "ood-labels")
    with pytest.raises(DataError, match=r"ood\.labels: no such store or folder of masks: .*`semiovs label`"):
        load(root, OodConfig())
    naive = load(root, OodConfig(mode="naive"))
    assert naive.ood_labels is None
    check_collection(naive)
    assert bool(stream(naive)[0].ood.valid.all())  # nothing says otherwise


def stream(sources, **options):
    """A stream whose crops lie within the images."""
    return StepStream(
        sources,
        ViewRequest(ood=2),
        crop_size=24,
        batch_size=2,
        seed=3,
        micro_steps_total=6,
        scale=(1.0, 1.0),
        **options,
    )


def tensors(batch):
    found = []
    batch.map(lambda t: found.append(t) or t)
    return found


@pytest.mark.parametrize(
    ("labels", "confidence"),
    [("store", "ones"), ("store", "score"), ("store", "calibrated"), ("folder", "ones"), ("list", "ones")],
)
def test_both_arms_get_the_same_batches(root, labels, confidence):
    """With `ood.mode=naive` the pixels that the store ignores are not valid either: the arms differ in labels alone."""
    given = {"confidence": confidence}
    if labels == "store":
        teacher = {"name": "t", "calibration": "c"}
        made = PseudoLabelStore.create(root / "store", Vocabulary.of(toy_data.NAMES), teacher=teacher)
        for i in range(4):
            label = np.random.default_rng(i).choice(np.array([0, 1, 2, 255], np.uint8), (30, 40))
            made.add(f"o{i}", label, np.full((30, 40), 0.5))
        given["labels"] = "store"
    elif labels == "list":
        (root / "list.txt").write_text("".join(f"ood/o{i}.png ood-labels/o{i}.png\n" for i in range(4)))
        given |= {"images": "list.txt", "labels": None}
    ovs, naive = (load(root, OodConfig(mode=mode, **given)) for mode in ("ovs", "naive"))
    assert [r.id for r in ovs.ood] == [r.id for r in naive.ood]
    for step in range(6):
        ours, theirs = (stream(sources, confidence=confidence)[step] for sources in (ovs, naive))
        assert 0 < ours.ood.valid.sum() < ours.ood.valid.numel()
        pairs = list(zip(tensors(ours), tensors(theirs), strict=True))
        assert len(pairs) == 8
        assert all(torch.equal(a, b) for a, b in pairs)


def test_an_image_without_a_label_is_refused_in_both_arms(root):
    (root / "ood-labels/o1.png").unlink()
    for mode in ("ovs", "naive"):
        sources = load(root, OodConfig(mode=mode))
        with pytest.raises(
            DataError, match=r"o1\.png: no label for id 'o1' in ood\.labels; label it \(`semiovs label`\)"
        ):
            [stream(sources)[step] for step in range(6)]
        with pytest.raises(DataError, match=r"o1\.png: no label for id 'o1'"):
            check_collection(sources)


def test_a_store_of_other_classes_is_refused_in_naive_mode_too(root):
    store(root, ("road", "sky", "car"))
    with pytest.raises(DataError, match="other classes"):
        load(root, OodConfig(labels="store", mode="naive"))


def test_naive_mode_asks_nothing_of_the_confidence(root):
    """It is the student's own: a store of raw labels serves `calibrated`, and masks serve `score`."""
    store(root)
    for given in ({"labels": "store", "confidence": "calibrated"}, {"confidence": "score"}):
        with pytest.raises(ConfigError, match=r"ood\.confidence"):
            load(root, OodConfig(**given))
        assert load(root, OodConfig(mode="naive", **given)).ood_labels is not None


def store(root, names=toy_data.NAMES, prefix=""):
    made = PseudoLabelStore.create(root / "store", Vocabulary.of(names), teacher={"name": "t"})
    for i in range(4):
        made.add(f"{prefix}o{i}", np.full((30, 40), i % 3, np.uint8), np.full((30, 40), 0.5))


def test_store(root):
    store(root)
    sources = load(root, OodConfig(labels="store", confidence="score"))
    assert int(sources.ood_labels.label("o2").max()) == 2
    assert int(sources.ood_labels.confidence("o2").max()) in {127, 128}
    check_collection(sources)


def test_store_of_other_classes_is_refused(root):
    store(root, ("road", "sky", "car"))
    with pytest.raises(DataError, match="other classes"):
        load(root, OodConfig(labels="store"))


def test_scores_need_a_store(root):
    with pytest.raises(ConfigError, match=r"ood\.confidence: score needs a pseudo-label store"):
        load(root, OodConfig(confidence="score"))


@pytest.mark.parametrize("prefix", ["", "ood/", "far/away/"])
def test_records_find_their_labels_by_last_name(root, prefix):
    store(root, prefix=prefix)
    (root / "ood.txt").write_text("".join(f"ood/o{i}.png\n" for i in range(4)))
    sources = load(root, OodConfig(images="ood.txt", labels="store"))
    assert [r.id for r in sources.ood] == [f"ood/o{i}" for i in range(4)]
    assert [int(sources.ood_labels.label(r.id)[0, 0]) for r in sources.ood] == [0, 1, 2, 0]
    check_collection(sources)


def test_a_last_name_that_two_records_share_finds_nothing(root):
    shutil.copytree(root / "ood", root / "more")
    (root / "ood.txt").write_text("ood/o0.png\nmore/o0.png\nood/o1.png\n")
    sources = load(root, OodConfig(images="ood.txt"))
    assert ["ood/o0" in sources.ood_labels, "more/o0" in sources.ood_labels] == [False, False]
    assert "ood/o1" in sources.ood_labels


def test_list_of_images_and_labels_from_elsewhere(root, tmp_path_factory):
    coco = tmp_path_factory.mktemp("coco")
    for name in ("ood", "ood-labels"):
        shutil.move(root / name, coco / name)
    (coco / "list.txt").write_text("".join(f"ood/o{i}.png ood-labels/o{i}.png\n" for i in range(4)))
    sources = load(root, OodConfig(images=str(coco / "list.txt")))
    assert sources.ood[0].image == coco / "ood/o0.png"
    assert sources.ood_labels.paths["ood/o0"] == coco / "ood-labels/o0.png"
    check_collection(sources)


def test_val_without_masks(root):
    shutil.rmtree(root / "val/masks")
    with pytest.raises(DataError, match=r"val/masks: no such folder"):
        load(root)
