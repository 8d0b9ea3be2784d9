"""The teacher that has answered already, the registry's door, and the default labels of a teacher."""

import numpy as np
import pytest
import torch
from PIL import Image

from semiovs.errors import ConfigError, DataError, UsageError
from semiovs.ovs import OpenVocabModel, build_ovs
from semiovs.vocab import Vocabulary

CLASSES = Vocabulary.of(["sky", "road", "car"])
MASK = np.array([[0, 1, 2, 255], [1, 1, 0, 0]], np.uint8)
IMAGE = torch.zeros(3, 2, 4, dtype=torch.uint8)


def save(path, mask=MASK):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


def label_one(teacher, identifier, image=IMAGE):
    labels, confidences = teacher.label([image], CLASSES, ids=[identifier])
    return labels[0].numpy(), confidences[0].numpy()


class Fixed(OpenVocabModel):
    def scores(self, images, vocabulary, *, ids=None):
        return [torch.tensor([[[0.1, 0.5]], [[0.7, 0.2]], [[0.2, 0.3]]]).double() for _ in images]


def test_default_label_is_the_best_score():
    labels, confidences = Fixed().label([IMAGE, IMAGE], CLASSES)
    assert [label.tolist() for label in labels] == [[[1, 0]], [[1, 0]]]
    assert labels[0].dtype == torch.uint8
    assert confidences[0].dtype == torch.float32
    torch.testing.assert_close(confidences[0], torch.tensor([[0.7, 0.5]]))


def test_masks_are_found_by_id_or_by_bare_name(tmp_path):
    save(tmp_path / "a/1.png")
    save(tmp_path / "masks/er/2.png", np.ones((2, 4), np.uint8))
    teacher = build_ovs("masks", root=tmp_path)
    label, confidence = label_one(teacher, "a/1")
    assert (label == MASK).all()
    assert (confidence == 1).all()
    for name in ("2", "er/2", "images/er/2"):
        assert (label_one(build_ovs("masks", root=tmp_path), name)[0] == 1).all()


def test_scores_of_a_mask_are_one_hot(tmp_path):
    save(tmp_path / "1.png")
    scores = build_ovs("masks", root=str(tmp_path)).scores([IMAGE], CLASSES, ids=["1"])[0]
    assert scores.shape == (3, 2, 4)
    assert scores[:, 0, 3].tolist() == [0, 0, 0]
    assert scores[:, 0, 2].tolist() == [0, 0, 1]


def test_a_mask_belongs_to_one_image(tmp_path):
    save(tmp_path / "x/1.png")
    save(tmp_path / "2.png")
    teacher = build_ovs("masks", root=tmp_path)
    with pytest.raises(DataError, match=r"no mask for image 'y/1' .*; x/1\.png lies in another folder"):
        teacher.find("y/1")
    assert teacher.find("x/2") == tmp_path / "2.png"
    with pytest.raises(DataError, match=r"2\.png: could belong to image 'x/2' and to 'y/2'"):
        teacher.find("y/2")
    np.save(tmp_path / "x/1.npy", np.zeros((3, 2, 4), np.float32))
    with pytest.raises(DataError, match=r"two masks could belong to image 'x/1': x/1\.png and x/1\.npy"):
        teacher.find("x/1")


def test_two_files_of_one_name_are_not_guessed(tmp_path):
    save(tmp_path / "x/1.png")
    save(tmp_path / "y/1.png")
    teacher = build_ovs("masks", root=tmp_path)
    with pytest.raises(DataError, match=r"x/1\.png and y/1\.png"):
        label_one(teacher, "1")
    assert (label_one(teacher, "y/1")[0] == MASK).all()


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_score_maps(tmp_path, suffix):
    scores = np.random.default_rng(0).random((3, 2, 4)).astype(np.float16)
    np.save(tmp_path / "1_s.npy", scores) if suffix == ".npy" else np.savez(tmp_path / "1_s.npz", scores=scores)
    teacher = build_ovs("masks", root=tmp_path, suffix="_s")
    label, confidence = label_one(teacher, "1")
    assert (label == scores.argmax(0)).all()
    assert (confidence == scores.max(0)).all()
    assert (teacher.scores([IMAGE], CLASSES, ids=["1"])[0].numpy() == scores).all()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 2, 4), np.float32), r"\(3, height, width\)"),
        (np.zeros((3, 2, 4), np.int64), "must be floats or uint8"),
        (np.zeros((3, 2, 4), np.uint16), "must be floats or uint8"),
        (np.zeros((3, 4, 2), np.float32), "2x4, but its image is 4x2"),
        (np.zeros((3, 0, 4), np.float32), "4x0, but its image is 4x2"),
        (np.zeros((3, 3, 6), np.uint8), "6x3, but its image is 4x2"),
        (np.full((3, 2, 4), 7.5, np.float32), "not logits"),
        (np.full((3, 2, 4), np.nan, np.float32), r"\[0, 1\]"),
        (np.array([{}], dtype=object), "cannot be read as an array"),
    ],
)
def test_wrong_score_maps(tmp_path, array, message):
    np.save(tmp_path / "1.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=message):
        label_one(build_ovs("masks", root=tmp_path), "1")


def test_small_uint8_score_maps_say_what_full_size_floats_do(tmp_path):
    small = np.random.default_rng(0).integers(0, 256, (3, 9, 12), dtype=np.uint8)
    image = torch.zeros(3, 35, 47)  # four times as large, but for rounding
    full = torch.nn.functional.interpolate(torch.from_numpy(small / 255.0)[None], (35, 47), mode="bilinear")[0].numpy()
    for name, array in {"small": small, "full": full}.items():
        (tmp_path / name).mkdir()
        np.savez_compressed(tmp_path / name / "1.npz", scores=array)
    teachers = [build_ovs("masks", root=tmp_path / name) for name in ("small", "full")]
    (found,), (wanted,) = (teacher.scores([image], CLASSES, ids=["1"]) for teacher in teachers)
    assert found.shape == (3, 35, 47)
    assert torch.allclose(found, wanted, atol=1e-6)
    (labels, _), (same, _) = (teacher.label([image], CLASSES, ids=["1"]) for teacher in teachers)
    assert (labels[0] == same[0]).all()
    assert labels[0].unique().numel() == 3


def test_a_small_score_map_of_other_proportions_is_refused(tmp_path):
    np.save(tmp_path / "1.npy", np.zeros((3, 12, 9), np.uint8))
    with pytest.raises(DataError, match=r"9x12, but its image is 47x35; score maps .* in the same proportions"):
        build_ovs("masks", root=tmp_path).scores([torch.zeros(3, 35, 47)], CLASSES, ids=["1"])


@pytest.mark.parametrize("name", ["1.npy", "1.npz", "1.png"])
@pytest.mark.parametrize("data", [b"", b"not a file of that kind", b"\x93NUMPY\x01\x00v\x00{'descr'"])
def test_damaged_files_are_named(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=name):
        label_one(build_ovs("masks", root=tmp_path), "1")


def test_values_are_mapped_and_checked(tmp_path):
    save(tmp_path / "1.png", np.full((2, 4), 7, np.uint8))
    with pytest.raises(DataError, match="7"):
        label_one(build_ovs("masks", root=tmp_path), "1")
    mapped = build_ovs("masks", root=tmp_path, map={"7": "car"})
    assert (label_one(mapped, "1")[0] == 2).all()
    assert mapped.describe()["map"] == {"7": "car"}
    with pytest.raises(ConfigError, match="did you mean 'car'"):
        label_one(build_ovs("masks", root=tmp_path, map={"7": "caar"}), "1")


def test_sizes_must_be_those_of_the_image(tmp_path):
    save(tmp_path / "1.png", MASK.T.copy())
    with pytest.raises(DataError, match="2x4, but its image is 4x2"):
        label_one(build_ovs("masks", root=tmp_path), "1")


def test_missing_masks_and_folders(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        build_ovs("masks", root=tmp_path / "nowhere")
    teacher = build_ovs("masks", root=tmp_path)
    with pytest.raises(DataError, match="holds no masks at all"):
        label_one(teacher, "1")
    save(tmp_path / "other.png")
    with pytest.raises(DataError, match=r"no mask for image '1'.*'other', for example"):
        label_one(build_ovs("masks", root=tmp_path), "1")


def test_wrong_ways_to_build_or_ask(tmp_path):
    with pytest.raises(UsageError, match="--from"):
        build_ovs("masks")
    with pytest.raises(UsageError, match="did you mean 'masks'"):
        build_ovs("mask")
    with pytest.raises(UsageError, match="no option 'roots'"):
        build_ovs("masks", roots=tmp_path)
    with pytest.raises(UsageError, match="no weights"):
        build_ovs("masks", root=tmp_path, weights="x.pth")
    with pytest.raises(UsageError, match="encoding"):
        build_ovs("masks", root=tmp_path, encoding="jpeg")
    with pytest.raises(UsageError, match="ids"):
        build_ovs("masks", root=tmp_path).label([IMAGE], CLASSES)
