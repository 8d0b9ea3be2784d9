"""Images and masks that are paired by their names: one mask an image, one image a mask."""

import pytest

from semiovs.errors import DataError
from semiovs.images.discover.pairs import find_pairs, pair_side_by_side


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["imgs/a.jpg", "masks/a.png", "masks/a.tif"], "masks/a.png and a.tif may both be the mask of a.jpg"),
        (["imgs/a.jpg", "masks/a.png", "masks/a_mask.png"], "a.png and a_mask.png may both be the mask of a.jpg"),
        (["imgs/a.jpg", "imgs/a.png", "imgs/a_mask.png"], "a.png and a_mask.png may both be the mask of a.jpg"),
        (["imgs/1.png", "imgs/1_image.png", "imgs/1_mask.png"], "be the mask of both 1.png and 1_image.png"),
        (["imgs/a.jpg", "imgs/a.png", "masks/a.png"], "masks/a.png may be the mask of both a.jpg and a.png"),
    ],
)
def test_what_may_be_meant_in_two_ways_is_refused(tmp_path, files, said):
    touch(tmp_path, *files)
    with pytest.raises(DataError) as error:
        find_pairs(tmp_path, "imgs")
    assert said in str(error.value)


def test_names_that_look_alike_keep_their_own_masks(tmp_path):
    composed, decomposed = "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"
    touch(tmp_path, *(f"{place}/{name}.png" for place in ("imgs", "masks") for name in (composed, decomposed)))
    pairs = find_pairs(tmp_path, "imgs").pairs
    assert [image.name == mask.name for image, mask in pairs] == [True, True]


def test_images_without_masks_need_not_be_paired(tmp_path):
    touch(tmp_path, "a.jpg", "a_mask.png", "a_label.png")
    assert [image.name for image, _ in pair_side_by_side(tmp_path)] == ["a.jpg"]
