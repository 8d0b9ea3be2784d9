"""Every student can be traced by torch with a free batch: nothing in a forward pass asks for the batch as a number of
Python, as `len` does.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from semiovs.models import build_segmenter
from semiovs.models.segmenter import Segmenter
from semiovs.vocab import Vocabulary

_SEMIVL: dict[str, Any] = {"encoder": "tiny", "image_size": 32, "text": "words", "taps": [0, 1], "channels": 16}
_SEMIVL |= {"up_channels": [16, 16], "skip_channels": [8, 8], "layers": 1, "dilations": [1], "pool": 2}
STUDENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "deeplabv3plus": ("deeplabv3plus", {"encoder": "tiny"}),
    "allspark": ("deeplabv3plus", {"encoder": "tiny", "neck": "allspark"}),
    "segformer": ("segformer", {"encoder": "pvt_v2_b0"}),
    "ddfp": ("deeplabv3plus-dual", {"encoder": "tiny"}),
    "dpt": ("dpt", {"encoder": "test_vit"}),
    "dinov2": ("dpt", {"encoder": "test_vit"}),
    "linear-probe": ("linear-probe", {"encoder": "tiny"}),
    "semivl": ("semivl", _SEMIVL),
}


def build(name: str) -> Segmenter:
    segmenter, options = STUDENTS[name]
    model = build_segmenter(segmenter, num_classes=3, **options)
    model.prompt(Vocabulary.of(("sky", "road", "car")))
    if name == "dinov2":
        object.__setattr__(model.patches, "dinov2", True)
    return model.eval()


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_is_traced_with_a_free_batch(name: str) -> None:
    torch.manual_seed(0)
    model = build(name)
    with torch.no_grad():
        program = torch.export.export(
            model, (torch.randn(2, 3, 64, 64),), dynamic_shapes=({0: torch.export.Dim("batch")},)
        )
        image = torch.randn(3, 3, 64, 64)
        torch.testing.assert_close(program.module()(image), model(image), rtol=1e-4, atol=1e-5)
