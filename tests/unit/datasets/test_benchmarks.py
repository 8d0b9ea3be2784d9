"""Benchmarks as people have them on disk; the lists are made up."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from semiovs.audit.check import check_collection
from semiovs.config import load_config
from semiovs.config.schema import DataConfig
from semiovs.datasets import split_cache
from semiovs.datasets.ade20k import Ade20k
from semiovs.datasets.cityscapes import Cityscapes
from semiovs.datasets.coco import Coco, list_unlabeled
from semiovs.datasets.coco_masks import MAP_171, STUFF, THINGS, CocoInstances, decode_region
from semiovs.datasets.context import _IDS, Context, map_class_ids
from semiovs.datasets.split_cache import SplitCache
from semiovs.datasets.voc import Voc
from semiovs.errors import DataError
from semiovs.images.image import open_image
from semiovs.images.masks import find_ids
from semiovs.registry import DATASETS
from semiovs.vocab import Vocabulary
from unit import benchmark_trees as trees
from unit import tars
from unit.split_toys import catalogue_of


@pytest.fixture
def published(monkeypatch, tmp_path):
    """Makes given texts the published lists, and puts them into the cache."""
    monkeypatch.setenv("SEMIOVS_CACHE", str(tmp_path / "cache"))

    def use(texts, here=True):
        monkeypatch.setattr(split_cache, "load_catalogue", lambda: catalogue_of(texts))
        if here:
            SplitCache().add({name: text.removesuffix("\n").split("\n") for name, text in texts.items()})

    return use


def _preset(name: str, root, *more: str):
    config = load_config(name, [f"data.root={root}", *more]).config
    return DATASETS[config.data.name].load()(config.data, config.ood)


def _ids(manifest):
    return [record.id for record in manifest]


def _values(sources, manifest):
    return sorted({int(v) for record in manifest for v in np.unique(sources.masks(record.mask))})


@pytest.mark.parametrize("home", [".", "VOC2012", "VOCdevkit/VOC2012"])
def test_voc_with_a_preset_and_published_lists(home, tmp_path, published):
    trees.voc(tmp_path / "data" / home)
    published(trees.voc_lists())
    sources = _preset("pascal/92", tmp_path / "data").read()
    check_collection(sources)
    assert _ids(sources.labeled) == ["JPEGImages/2007_000032", "JPEGImages/2008_000008"]
    assert [record.mask.parent.name for record in sources.labeled] == ["SegmentationClass", "SegmentationClassAug"]
    assert _values(sources, sources.labeled) == [0, 13, 15, 20, 255]
    assert _ids(sources.unlabeled) == ["JPEGImages/2007_000039", "JPEGImages/2008_000015"]
    assert all(record.mask is None for record in sources.unlabeled)
    assert len(sources.val) == 1


def test_a_list_in_the_root_wins(tmp_path, published):
    trees.voc(tmp_path)
    published(trees.voc_lists())
    path = tmp_path / "splits/pascal/92/labeled.txt"
    path.parent.mkdir(parents=True)
    path.write_text("JPEGImages/2007_000039.jpg SegmentationClass/2007_000039.png\n")
    assert _ids(_preset("pascal/92", tmp_path).labeled().labeled) == ["JPEGImages/2007_000039"]
    own = _preset("pascal/92", tmp_path, "data.unlabeled=JPEGImages").unlabeled()
    assert len(own) == 5
    tars.write(tmp_path / "more.tar", [("a.png", tars.picture())])
    assert _ids(_preset("pascal/92", tmp_path, "data.unlabeled=more.tar").unlabeled()) == ["more/a"]


def test_absent_lists_name_the_command(tmp_path, published):
    trees.voc(tmp_path)
    published(trees.voc_lists(), here=False)
    with pytest.raises(DataError, match=r"data\.labeled: .*pascal/92/labeled\.txt.*semiovs splits fetch pascal"):
        _preset("pascal/92", tmp_path).read()
    with pytest.raises(DataError, match=r"data\.labeled: no such list or folder"):
        _preset("pascal/92", tmp_path, "data.labeled=splits/pascal/93/labeled.txt").read()


def test_absent_masks_and_images_are_counted(tmp_path, published):
    trees.voc(tmp_path, augmented=False)
    published(trees.voc_lists())
    with pytest.raises(
        DataError,
        match=r"1 of 2 masks are not in .*SegmentationClass/2008_000008\.png.*semiovs data prepare voc --root",
    ):
        _preset("pascal/92", tmp_path).read()
    (tmp_path / "JPEGImages/2008_000015.jpg").unlink()
    with pytest.raises(DataError, match=r"data\.unlabeled: 1 of 2 images are not in"):
        _preset("pascal/92", tmp_path).unlabeled()


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".png"])
def test_suffixes_written_in_another_way(suffix, tmp_path, published):
    trees.voc(tmp_path)
    published(trees.voc_lists())
    for path in (tmp_path / "JPEGImages").glob("*.jpg"):
        path.rename(path.with_suffix(suffix))
    (tmp_path / "SegmentationClass/2007_000032.png").rename(tmp_path / "SegmentationClass/2007_000032.PNG")
    sources = _preset("pascal/92", tmp_path).read()
    check_collection(sources)
    assert sources.labeled[0].image.suffix == suffix


def test_an_image_is_no_mask(tmp_path, published):
    """A JPEG of the mask's name is not taken for it."""
    trees.voc(tmp_path)
    published(trees.voc_lists())
    (tmp_path / "SegmentationClass/2007_000032.png").rename(tmp_path / "SegmentationClass/2007_000032.jpg")
    with pytest.raises(DataError, match="1 of 2 masks are not in"):
        _preset("pascal/92", tmp_path).read()


def test_voc_without_lists_uses_the_official_parts(tmp_path):
    trees.voc(tmp_path)
    sources = Voc(DataConfig(name="voc", root=str(tmp_path))).read()
    check_collection(sources)
    assert (len(sources.labeled), len(sources.val), sources.unlabeled) == (2, 1, None)
    assert sources.vocabulary.names == Vocabulary.load("voc21").names
    shutil.rmtree(tmp_path / "ImageSets")
    with pytest.raises(DataError, match="no train images of voc; next: semiovs data prepare voc"):
        Voc(DataConfig(name="voc", root=str(tmp_path))).read()


def test_masks_of_sbd(tmp_path):
    from scipy import io

    trees.voc(tmp_path, augmented=False)
    mats = tmp_path / "SBD/dataset/cls"
    mats.mkdir(parents=True)
    drawn = np.array([[0, 13], [5, 20]], np.uint8)
    for stem in ("2008_000008", "2008_000015", "2007_000032"):  # the last one has a mask of the devkit
        io.savemat(mats / f"{stem}.mat", {"GTcls": {"Segmentation": drawn, "Boundaries": 0}})
    io.savemat(mats / "2008_000016.mat", {"GTcls": {"Segmentation": drawn + 90}})
    io.savemat(mats / "2008_000017.mat", {"other": 1})
    (mats / "2008_000018.mat").write_bytes(b"x" * 200)
    (making,) = Voc(DataConfig(name="voc", root=str(tmp_path))).mask_builds()
    steps = []
    made, problems = making.run(lambda done, total: steps.append((done, total)))
    assert (made, steps[-1]) == (2, (5, 5))
    assert [p.partition(":")[0] for p in problems] == ["2008_000016.png", "2008_000017.png", "2008_000018.png"]
    with open_image(tmp_path / "SegmentationClassAug/2008_000008.png") as picture:
        assert picture.mode == "P"
        assert np.array_equal(np.asarray(picture), drawn)
    assert making.missing() == [f"2008_00001{i}.png" for i in (6, 7, 8)]
    assert making.run()[0] == 0  # what is there stays


@pytest.mark.parametrize("train_ids", [True, False])
@pytest.mark.parametrize("home", [".", "cityscapes"])
def test_cityscapes(train_ids, home, tmp_path, published):
    trees.cityscapes(tmp_path / "data" / home, train_ids=train_ids)
    published(trees.cityscapes_lists())
    sources = _preset("cityscapes/1_16", tmp_path / "data").read()
    check_collection(sources)
    assert _values(sources, sources.labeled) == _values(sources, sources.val) == [0, 13, 18, 255]
    assert sources.labeled[0].mask.name.endswith("labelTrainIds.png" if train_ids else "labelIds.png")
    extra = _preset("cityscapes/1_16", tmp_path / "data", "data.unlabeled=splits/cityscapes/all/unlabeled.txt")
    assert _ids(extra.unlabeled()) == ["leftImg8bit/train_extra/augsburg/augsburg_000000_000000_leftImg8bit"]
    folder = _preset("cityscapes/1_16", tmp_path / "data", "data.unlabeled=leftImg8bit/train_extra")
    assert len(folder.unlabeled()) == 1


def test_cityscapes_in_the_folders_of_its_archives(tmp_path, published):
    trees.cityscapes(tmp_path / "x", train_ids=False)
    for part, archive in (("leftImg8bit", "leftImg8bit_trainvaltest"), ("gtFine", "gtFine_trainvaltest")):
        (tmp_path / "data" / archive).mkdir(parents=True)
        (tmp_path / "x" / part).rename(tmp_path / "data" / archive / part)
    published(trees.cityscapes_lists())
    data = Cityscapes(DataConfig(name="cityscapes", root=str(tmp_path / "data")))
    sources = data.read()
    check_collection(sources)
    assert (len(sources.labeled), len(sources.val)) == (2, 1)
    assert [part.found for part in data.parts()] == [2, 2, 1, 1, 1]


def test_cityscapes_with_some_train_ids_reads_ids(tmp_path, published):
    """One table holds for all masks: half of the train ids do not count."""
    trees.cityscapes(tmp_path, train_ids=True)
    published(trees.cityscapes_lists())
    next((tmp_path / "gtFine/val").rglob("*labelTrainIds.png")).unlink()
    sources = _preset("cityscapes/1_16", tmp_path).read()
    assert {record.mask.name[-12:] for record in (*sources.labeled, *sources.val)} == {"labelIds.png"}
    next((tmp_path / "gtFine/train/jena").rglob("*labelIds.png")).unlink()
    with pytest.raises(DataError, match="masks are not in"):
        _preset("cityscapes/1_16", tmp_path).read()


def test_the_table_of_cityscapes_is_the_vocabulary():
    from semiovs.datasets.cityscapes import TRAIN_IDS

    names = Vocabulary.load("cityscapes19").names
    devkit = {7: "road", 8: "sidewalk", 11: "building", 17: "pole", 23: "sky", 24: "person", 26: "car", 33: "bicycle"}
    assert {value: names[TRAIN_IDS[str(value)]] for value in devkit} == devkit
    assert sorted(set(TRAIN_IDS.values())) == [*range(19), 255]


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("home", [".", "ADEChallengeData2016"])
def test_ade20k(moved, home, tmp_path):
    trees.ade20k(tmp_path / home, moved=moved)
    sources = Ade20k(DataConfig(name="ade20k", root=str(tmp_path), masks={"reduce_zero_label": True})).read()
    check_collection(sources)
    assert (len(sources.labeled), len(sources.val)) == (2, 1)
    assert _values(sources, sources.labeled) == [0, 149, 255]
    assert len(sources.vocabulary) == 150


def test_ade20k_a_mask_with_the_last_class_was_not_moved(tmp_path):
    trees.ade20k(tmp_path)
    (first, *_) = sorted((tmp_path / "annotations/training").iterdir())
    trees.mask(first, [0, 1, 150, 255])
    sources = Ade20k(DataConfig(name="ade20k", root=str(tmp_path))).read()
    assert sorted(find_ids(sources.masks(first))) == [0, 149, 255]


def test_ade20k_moved_masks_for_evaluation_alone(tmp_path):
    trees.ade20k(tmp_path, moved=True)
    for path in (tmp_path / "annotations/training").iterdir():
        path.unlink()
    sources = Ade20k(DataConfig(name="ade20k", root=str(tmp_path), labeled="splits/l.txt"))
    assert sources.mask_kinds()[0].options == {"reduce_zero_label": False}


@pytest.mark.parametrize("more", [{}, {"masks": {"reduce_zero_label": True}}])
@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("folder", ["SegmentationClassContext60", "SegmentationClassContext"])
def test_context_of_59_classes(folder, moved, more, tmp_path):
    """Without class 59 (wood) in a mask, nothing else tells that 0 is the background and 1 the first class."""
    trees.context(tmp_path, folder=folder)
    for path in (tmp_path / folder).rglob("*.png"):
        trees.mask(path, [255, 0, 6] if moved else [0, 1, 7])
    path = tmp_path / "l.txt"
    path.write_text("JPEGImages/2008_000002.jpg SegmentationClassContext60/train/2008_000002.png\n")
    data = DataConfig(name="context", root=str(tmp_path), classes="context59", labeled="l.txt", val="l.txt", **more)
    sources = Context(data).read()
    assert _values(sources, sources.labeled) == [0, 6, 255]


@pytest.mark.parametrize("folder", ["SegmentationClassContext60", "SegmentationClassContext"])
def test_context(folder, tmp_path, published):
    trees.context(tmp_path, folder=folder)
    line = "JPEGImages/{1}.jpg SegmentationClassContext60/{0}/{1}.png".format
    published(
        {
            "pc60/1_16/labeled.txt": line("train", "2008_000002"),
            "pc60/1_16/unlabeled.txt": line("train", "2008_000003"),
            "pc60/val.txt": line("val", "2010_000001"),
        }
    )
    sources = _preset("context/1_16", tmp_path).read()
    check_collection(sources)
    assert _values(sources, sources.val) == [0, 1, 59]
    fewer = _preset("context/1_16", tmp_path, "data.classes=context59", "data.masks.reduce_zero_label=true").read()
    assert _values(fewer, fewer.val) == [0, 58, 255]


def _merged(root):
    """trainval_merged.json of two images: aeroplane (2) over the upper half, wood (458) in a corner, an id of no class
    (1).
    """
    from pycocotools import mask as runs

    regions = {2: np.s_[:8], 458: np.s_[:4, :4], 1: np.s_[12:]}
    rows = []
    for category, place in regions.items():
        drawn = np.zeros((trees.HEIGHT, trees.WIDTH), np.uint8, order="F")
        drawn[place] = 1
        code = runs.encode(drawn)
        code["counts"] = code["counts"].decode()
        rows += [
            {"image_id": i, "category_id": category, "segmentation": code, "id": category}
            for i in (2008000002, 2010000001)
        ]
    images = [
        {"image_id": int(stem.replace("_", "")), "file_name": f"{stem}.jpg", "phase": phase, "height": 16, "width": 24}
        for stem, phase in (("2008_000002", "train"), ("2010_000001", "val"), ("2010_000002", "test"))
    ]  # fmt: skip
    (root / "trainval_merged.json").write_text(json.dumps({"images": images, "annos_segmentation": rows}))


def test_context_from_its_json(tmp_path):
    home = tmp_path / "VOCdevkit/VOC2010"
    for stem in ("2008_000002", "2010_000001"):
        trees.image(home / "JPEGImages" / f"{stem}.jpg")
    _merged(home)
    data = Context(DataConfig(name="context", root=str(tmp_path)))
    (making,) = data.mask_builds()
    assert making.names == ("train/2008_000002.png", "val/2010_000001.png")
    assert making.run() == (2, [])
    sources = Context(data.data).read()
    check_collection(sources)
    made = sources.masks(sources.val[0].mask)
    assert made[2, 2] == 59
    assert made[2, 9] == 1
    assert not made[8:].any()


def test_context_from_its_mats(tmp_path):
    from scipy import io

    (tmp_path / "trainval").mkdir()
    for stem in ("2008_000002", "2010_000001"):
        trees.image(tmp_path / "JPEGImages" / f"{stem}.jpg")
        full = np.zeros((trees.HEIGHT, trees.WIDTH), np.uint16)
        full[:8], full[8:12] = 2, 459
        io.savemat(tmp_path / "trainval" / f"{stem}.mat", {"LabelMap": full})
    data = Context(DataConfig(name="context", root=str(tmp_path)))
    with pytest.raises(DataError, match=r"ImageSets/Main/train\.txt: not there"):
        data.mask_builds()
    path = tmp_path / "ImageSets/Main/train.txt"
    path.parent.mkdir(parents=True)
    path.write_text("2008_000002\n2009_000001\n")
    (making,) = data.mask_builds()
    assert making.run() == (2, [])
    sources = Context(data.data).read()
    check_collection(sources)
    assert _ids(sources.labeled) == ["JPEGImages/2008_000002"]
    assert _values(sources, sources.labeled) == [0, 1]


def test_ids_of_context():
    assert len(_IDS) == len(set(_IDS)) == 59
    assert list(_IDS) == sorted(_IDS)
    assert map_class_ids(np.array([[0, 2, 458, 459, 3]])).tolist() == [[0, 1, 59, 0, 0]]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"images": [{}], "annos_segmentation": []}', '{"images": 3, "annos_segmentation": 1}']
)
def test_a_json_that_is_not_context(text, tmp_path):
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "trainval_merged.json").write_text(text)
    with pytest.raises(DataError, match="not the annotation of Pascal Context"):
        Context(DataConfig(name="context", root=str(tmp_path))).mask_builds()


LABELED = "train2017/000000000025.jpg masks/000000000025.png"
COCO = {"coco/1_512/labeled.txt": LABELED, "coco/val.txt": "val2017/000000000139.jpg masks/000000000139.png"}


@pytest.mark.parametrize(
    ("masks", "inner", "values"),
    [("png", "", [0, 1, 80]), ("png", "images", [0, 1, 80]), ("maps", "", [0, 1, 80, 255])],
)
def test_coco(masks, inner, values, tmp_path, published):
    trees.coco(tmp_path, masks=masks, inner=inner)
    published(COCO)
    sources = _preset("coco/1_512", tmp_path).read()
    check_collection(sources)
    assert _values(sources, sources.labeled) == values
    assert _ids(sources.unlabeled) == ["train2017/000000000009", "train2017/000000000030"]
    folder = _preset("coco/1_512", tmp_path, "data.unlabeled=unlabeled2017").unlabeled()
    assert len(folder) == 1


def test_coco_from_its_annotations(tmp_path, published):
    trees.coco(tmp_path)
    published(COCO)
    for making in Coco(DataConfig(name="coco", root=str(tmp_path))).mask_builds():
        assert making.run()[1] == []
    sources = _preset("coco/1_512", tmp_path).read()
    check_collection(sources)
    names = sources.vocabulary.names
    mask = sources.masks(sources.labeled[0].mask)
    assert [names[mask[y, x]] for y, x in ((0, 0), (5, 9), (10, 10), (15, 20))] == [
        "person",
        "cat",
        "toothbrush",
        "background",
    ]
    empty = sources.masks(tmp_path / "masks/000000000030.png")
    assert not empty.any()


def test_171_classes_need_stuffthingmaps(tmp_path):
    trees.coco(tmp_path, masks="maps")
    data = DataConfig(name="coco", root=str(tmp_path), classes="cocostuff171")
    sources = Coco(data).read()
    check_collection(sources)
    names = sources.vocabulary.names
    found = [names[v] for v in _values(sources, sources.labeled) if v != 255]
    assert found == ["person", "toothbrush", "banner", "wood"]
    assert sorted(set(MAP_171.values())) == [*range(171), 255]
    assert (len(THINGS), len(STUFF)) == (80, 91)


@pytest.mark.parametrize(
    ("region", "reason"),
    [
        ({"counts": [5, 5], "size": [16, 24]}, "counts that add up to 10, but the mask has 24x16 = 384 pixels"),
        ({"counts": [-5, 389], "size": [16, 24]}, "a negative count"),
        ({"counts": [384], "size": [24, 16]}, "a mask of 16x24 pixels, but the image is 24x16"),
        ({"counts": 7, "size": [16, 24]}, "cannot be read"),
        ({"size": [16, 24]}, "cannot be read"),
        ([["a"] * 6], "cannot be read"),
        ("text", "cannot be read"),
        (None, "cannot be read"),
        ({"counts": "", "size": [16, 24]}, "counts that add up to 0"),
        ({"counts": "0", "size": [16, 24]}, "counts that add up to 0"),
        ({"counts": "zz", "size": [16, 24]}, "compressed counts"),
        ([[0, 0, 1e9, 0, 1e9, 1e9]], "far larger than its image"),  # crashed the process
        ([[3e9, 3e9, 3e9, 3e9, 3e9, 3e9]], "far larger"),
        ([[float("nan")] * 6], "far larger"),
    ],
)
def test_regions_that_do_not_hold(region, reason):
    with pytest.raises(DataError, match=reason):
        decode_region(region, 16, 24)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"height": 10**9, "width": 10**9}, "an image of 1000000000x1000000000 pixels"),
        ({"height": -1}, "an image of"),
        ({"category_id": 10**12}, "none of"),
        ({"category_id": -3}, "none of"),
    ],
)
@pytest.mark.parametrize("name", ["coco", "context"])
def test_sizes_and_categories_that_cannot_be(name, row, reason, tmp_path):
    region = {"counts": [0, 4], "size": [2, 2]}
    image = {"id": 1, "image_id": 1, "file_name": "2008_000001.jpg", "phase": "train", "height": 2, "width": 2, **row}
    note = {"image_id": 1, "category_id": 2, "area": 4, "segmentation": region, **row}
    text = json.dumps({"images": [image], "annotations": [note], "annos_segmentation": [note]})
    if name == "coco":
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(DataError, match=reason):
            CocoInstances.read(tmp_path / "a.json").paint("2008_000001")
    else:
        (tmp_path / "JPEGImages").mkdir()
        (tmp_path / "trainval_merged.json").write_text(text)
        (making,) = Context(DataConfig(name="context", root=str(tmp_path))).mask_builds()
        made, problems = making.run()
        assert made == 0
        assert reason in problems[0]


def test_odd_regions_that_hold():
    assert not decode_region([], 16, 24).any()
    assert not decode_region([[1, 2, 3, 4]], 16, 24).any()  # a line
    two = decode_region([*trees.rectangle(0, 0, 2, 2), *trees.rectangle(4, 4, 8, 8)], 16, 24)
    assert two.sum() == 4 + 16


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"images": [], "annotations": [{}]}', '{"images": [{"id": 1}], "annotations": []}']
)
def test_files_that_are_no_annotations(text, tmp_path):
    path = tmp_path / "instances.json"
    path.write_text(text)
    with pytest.raises(DataError, match="not an annotation file of COCO"):
        CocoInstances.read(path)


def test_a_category_that_is_no_thing(tmp_path):
    path = tmp_path / "instances.json"
    data = trees.instances(["000000000001"])
    data["annotations"][0]["category_id"] = 95
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match="category 95"):
        CocoInstances.read(path).paint("000000000001")


def test_complement():
    lines = list_unlabeled([LABELED], {"000000000025", "000000000030", "000000000009"})
    assert lines == [f"train2017/{s}.jpg masks/{s}.png" for s in ("000000000009", "000000000030")]


def test_a_map_of_ones_own_is_taken(tmp_path, published):
    trees.cityscapes(tmp_path, train_ids=False)
    published(trees.cityscapes_lists())
    data = _preset(
        "cityscapes/1_16",
        tmp_path,
        "data.classes=[road,other]",
        "data.masks.map={'0': ignore, '4': 1, '7': road, '26': 1, '33': 1}",
    )
    sources = data.read()
    check_collection(sources)
    assert _values(sources, sources.labeled) == [0, 1, 255]


def test_the_masks_of_a_folder_of_ones_own_are_not_moved(tmp_path):
    trees.image(tmp_path / "images" / "a.jpg")
    trees.mask(tmp_path / "masks" / "a.png", [0, 1])
    own = {"name": "ade20k", "root": str(tmp_path), "classes": ["road", "car"]}
    sources = Ade20k(DataConfig(**own)).read()
    assert _values(sources, sources.labeled) == [0, 1]
    moved = Ade20k(DataConfig(**own, masks={"reduce_zero_label": True})).read()
    assert _values(moved, moved.labeled) == [0, 255]


def test_a_recipe_on_a_folder_of_ones_own(tmp_path):
    """``images/`` with ``masks/`` and no list: the preset's recipe, the user's data."""
    trees.image(tmp_path / "images/a.jpg")
    trees.mask(tmp_path / "masks/a.png", [0, 1])
    own = ["data.classes=[road,car]", "data.labeled=null", "data.unlabeled=null", "data.val=null"]
    for preset in ("pascal/92", "cityscapes/1_16", "coco/1_512", "context/1_16"):
        sources = _preset(preset, tmp_path, *own).read()
        check_collection(sources)
        assert (_ids(sources.labeled), sources.val) == (["a"], None)
