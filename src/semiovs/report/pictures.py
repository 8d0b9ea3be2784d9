"""Pictures for HTML pages, inside the page."""

from __future__ import annotations

import base64
import io
from typing import Literal

from PIL import Image


def encode_url(picture: Image.Image, kind: Literal["JPEG", "PNG"], *, quality: int = 80) -> str:
    """A picture as a ``data:`` URL. PNG: of at most 256 colours, for maps of labels; quality: of JPEG."""
    out = io.BytesIO()
    if kind == "PNG":
        picture.convert("RGB").quantize(256).save(out, "PNG", optimize=True)
    else:
        picture.convert("RGB").save(out, "JPEG", quality=quality)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(out.getvalue()).decode()}"
