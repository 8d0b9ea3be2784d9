"""Pages and frames of image files, of which the first is read."""

import numpy as np
import pytest
from PIL import Image

from semiovs.audit.image_facts import ImageFacts
from semiovs.images.image import open_image
from semiovs.images.pages import count_pages

PICTURES = [Image.fromarray(np.full((40, 40, 3), value, np.uint8)) for value in (10, 120, 240)]


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif"])
@pytest.mark.parametrize("number", [1, 3])
def test_pages_are_counted(tmp_path, name, number):
    path = tmp_path / name
    further = {"save_all": True, "append_images": PICTURES[1:number]} if number > 1 else {}
    PICTURES[0].save(path, **further)
    with open_image(path) as image:
        assert count_pages(image) == number
    assert ImageFacts.read(path).pages == number


def test_smaller_copies_are_no_pages(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.zeros((64, 64, 3), np.uint8), photometric="rgb")
        file.write(np.zeros((32, 32, 3), np.uint8), photometric="rgb", subfiletype=1)
    with open_image(tmp_path / "a.tif") as image:
        assert count_pages(image) == 1
