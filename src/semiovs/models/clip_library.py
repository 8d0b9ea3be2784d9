"""open_clip, the library of CLIP models, tokenizers and weights by tag; the extra `clip` brings it."""

from __future__ import annotations

from typing import Any

from semiovs.errors import MissingExtraError


def clip_library() -> Any:
    """The module `open_clip`, imported when a CLIP model is asked for.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import open_clip
    except ModuleNotFoundError as error:
        if error.name != "open_clip":
            raise
        raise MissingExtraError("CLIP models need open_clip; pip install 'semiovs[clip]'") from None
    return open_clip
