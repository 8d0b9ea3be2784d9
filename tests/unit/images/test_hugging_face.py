from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from semiovs.config.ood_section import OodConfig
from semiovs.config.schema import DataConfig
from semiovs.data import StepStream, ViewRequest, batch_digest, loader
from semiovs.errors import DataError, MissingExtraError
from semiovs.images.containers import container as containers
from semiovs.images.containers.container import identify, image_exists, read_bytes
from semiovs.images.image import read_image
from semiovs.images.manifest import Manifest
from semiovs.images.source import read_source
from semiovs.registry import DATASETS, lookup
from unit import toy_data
from unit.tars import picture


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(containers, "_open", {})


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"semiovs\[hf-datasets\]") as caught:
        read_source("hf:user/name", tmp_path)
    assert caught.value.exit_code == 4


@pytest.fixture
def datasets(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = pytest.importorskip("datasets")
    found.disable_progress_bars()
    monkeypatch.setattr(found.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return found


@pytest.fixture
def rows(datasets):
    columns = {
        "image": [{"bytes": picture(i), "path": f"{i}.png"} for i in range(5)],
        "url": ["https://a", None, "", "https://b", "https://c"],
        "license": ["CC0"] * 5,
        "label": list(range(5)),
    }
    kinds = {
        "image": datasets.Image(),
        "url": datasets.Value("string"),
        "license": datasets.Value("string"),
        "label": datasets.Value("int64"),
    }
    return datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))


def same(records, prefix, count=5):
    assert [r.id for r in records] == [f"{prefix}/{i:08d}" for i in range(count)]
    for i, record in enumerate(records):
        assert read_bytes(record.image) == picture(i)


def test_saved_set(rows, tmp_path):
    rows.save_to_disk(tmp_path / "saved")
    for given in (
        "hf:saved",
        "hf:saved:train",
        "hf:saved:train:image",
        f"hf:{tmp_path / 'saved'}",
        "saved",
        tmp_path / "saved",
    ):
        same(read_source(given, tmp_path), "saved/train")
    records = read_source("saved", tmp_path)
    assert records[0].image == tmp_path / "hf:saved:train:image/00000000"
    assert [(r.source, r.license) for r in records][:2] == [("https://a", "CC0"), ("", "CC0")]
    records.write_jsonl(tmp_path / "list.jsonl")
    again = read_source("list.jsonl", tmp_path)
    assert list(again) == list(records)
    assert again.hash == records.hash
    assert image_exists(records[4].image)
    assert not image_exists(tmp_path / "hf:saved:train:image/00000005")
    with pytest.raises(DataError, match="rows 00000000 to 00000004"):
        read_image(tmp_path / "hf:saved:train:image/00000005")
    assert len({identify(r.image) for r in records}) == 5
    before = identify(records[0].image)
    containers._open.clear()
    assert identify(records[0].image) == before


def test_a_list_is_read_in_a_new_process(rows, tmp_path):
    rows.save_to_disk(tmp_path / "saved")
    read_source("saved", tmp_path).write_jsonl(tmp_path / "list.jsonl")
    containers._open.clear()
    same(read_source("list.jsonl", tmp_path), "saved/train")


def test_splits(rows, datasets, tmp_path):
    datasets.DatasetDict({"a": rows, "b": rows.select(range(3))}).save_to_disk(tmp_path / "two")
    same(read_source("hf:two:b", tmp_path), "two/b", 3)
    with pytest.raises(DataError, match="no split 'train'; there are a, b"):
        read_source("hf:two", tmp_path)
    with pytest.raises(DataError, match="no split 'c'"):
        read_source("hf:two:c", tmp_path)


def test_shuffled_set_keeps_its_order(rows, tmp_path):
    rows.select([4, 2]).save_to_disk(tmp_path / "chosen")
    assert [read_bytes(r.image) for r in read_source("chosen", tmp_path)] == [picture(4), picture(2)]


def test_parquet(rows, datasets, tmp_path):
    rows.to_parquet(tmp_path / "one.parquet")
    same(read_source("one.parquet", tmp_path), "one/train")
    same(read_source("hf:one.parquet", tmp_path), "one/train")
    rows.to_parquet(tmp_path / "dir/train-0.parquet")
    same(read_source("hf:dir", tmp_path), "dir/train")


def test_bytes_without_the_hugging_face_type(tmp_path, datasets):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"jpg": [picture(0)], "n": [1]}), tmp_path / "raw.parquet")
    same(read_source("raw.parquet", tmp_path), "raw/train", 1)


def test_columns(rows, datasets, tmp_path):
    rows.add_column("mask", [None] * 5).cast_column("mask", datasets.Image()).save_to_disk(tmp_path / "pair")
    with pytest.raises(DataError, match="several columns hold images: image, mask; name one as hf:NAME:SPLIT:COLUMN"):
        read_source("hf:pair", tmp_path)
    same(read_source("hf:pair:train:image", tmp_path), "pair/train")
    with pytest.raises(DataError, match="row holds no image"):
        read_image(read_source("hf:pair:train:mask", tmp_path)[0].image)
    rows.remove_columns("image").save_to_disk(tmp_path / "none")
    for given, said in (
        ("hf:none", "no column holds images: url, license, label"),
        ("hf:pair:train:x", "no column 'x'"),
        ("hf:pair:train:label", "'label' holds no images"),
        ("hf:a:b:c:d", "expected hf:NAME"),
        ("hf:saved:train[:3]", "expected hf:NAME"),
        ("hf:../../x y", "no name on the hub"),
        ("hf:no/such-set", "HF_HUB_OFFLINE"),
    ):
        with pytest.raises(DataError, match=said.replace("[", r"\[")):
            read_source(given, tmp_path)


def test_damaged_set(rows, tmp_path):
    rows.save_to_disk(tmp_path / "saved")
    for name in ("state.json", "data-00000-of-00001.arrow"):
        (tmp_path / "saved" / name).write_bytes(b"{")
        containers._open.clear()
        with pytest.raises(DataError, match="hf:saved: cannot be loaded"):
            read_source("hf:saved", tmp_path)


def test_rows_that_only_name_a_file(datasets, tmp_path):
    (tmp_path / "a.png").write_bytes(picture(7))
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    cells = [
        {"bytes": None, "path": path} for path in (str(tmp_path / "a.png"), "a.png", "https://a/b.png", str(tmp_path))
    ]
    column = pa.array(cells, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    pq.write_table(pa.table({"image": column}), tmp_path / "named.parquet")
    first, *others = read_source("named.parquet", tmp_path)
    assert read_bytes(first.image) == picture(7)
    for record in others:
        with pytest.raises(DataError, match="row holds no image"):
            read_image(record.image)


def test_the_same_batches_as_from_a_folder(datasets, tmp_path):
    root = toy_data.make(tmp_path)
    files = sorted((root / "ood").iterdir())
    cells = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    datasets.Dataset.from_dict({"image": cells}, features=datasets.Features({"image": datasets.Image()})).save_to_disk(
        root / "set"
    )
    digests = []
    for given in ("ood", "hf:set"):
        make = lookup(DATASETS, "folder", kind="data set").load()
        sources = make(DataConfig(root=str(root)), OodConfig(images=given, labels=None, mode="naive")).read()
        views = ViewRequest(unlabeled=2, ood=2)
        stream = StepStream(sources, views, crop_size=32, batch_size=2, seed=1, micro_steps_total=4, pipeline="fast")
        digests += [[batch_digest(b) for b in loader(stream, 0, 4, workers=workers)] for workers in (0, 2)]
    assert digests[0] == digests[1] == digests[2] == digests[3]
    assert np.asarray(Image.open(files[0])).tolist() == np.asarray(read_image(sources.ood[0].image)).tolist()


def test_licence_of_the_whole_set(rows, tmp_path):
    bare = rows.remove_columns("license")
    bare.info.license = "CC BY 4.0"
    bare.save_to_disk(tmp_path / "saved")
    assert {record.license for record in read_source("saved", tmp_path)} == {"CC BY 4.0"}


def test_licenses_of_many_lines_come_as_one(rows, tmp_path):
    """Those of a set's card do; a list could not hold them."""
    terms = ["CC BY 4.0\n\tsee\x00 https://x", "\ud7ff" * 5000, "CC0", None, " "]
    kept = rows.remove_columns("license").add_column("license", terms)
    kept.save_to_disk(str(tmp_path / "set"))
    records = read_source("set", tmp_path)
    assert [record.license for record in records][:3] == ["CC BY 4.0 see https://x", "\ud7ff" * 999 + "…", "CC0"]
    records.write_jsonl(tmp_path / "list.jsonl")
    assert list(Manifest.read(tmp_path / "list.jsonl", tmp_path)) == list(records)
