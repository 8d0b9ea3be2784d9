"""The HTML page of a selection: images chosen and dropped by reason, classes before and after, example images."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from semiovs.errors import DataError
from semiovs.files import write_bytes
from semiovs.images.image import read_image
from semiovs.images.overlay import resize_photo
from semiovs.inference.photos import Photo, make_photo_sheet
from semiovs.report.page import write_page
from semiovs.report.pictures import encode_url
from semiovs.select.selection_files import ExampleImage, WrittenSelection

#: Long side of the pictures on the page and on the sheets, pixels.
_SIDE = 200

_MEANING = {
    "unreadable": "damaged, empty or missing files, and lines of a list that name no image",
    "no answer": "the teacher could not say what the image shows",
    "repeated id": "another image of the pool has the same id",
    "license": "not one of the licenses that were asked for",
    "leak": "a picture that is evaluated or trained on, or a copy of one",
    "off-topic": "shows none of the classes",
    "duplicate": "a copy of another image of the pool, which has more pixels or is the larger file",
    "over budget": "could have been chosen; other images were preferred",
}


def write_selection_page(out: Path, written: WrittenSelection, command: str) -> list[Path]:
    """Write report.html and the contact sheets chosen.png and dropped-<reason>.png into `out`; return their paths."""
    tiles = {"chosen": _load_photos(written.chosen)}
    tiles |= {reason: _load_photos(written.dropped.get(reason, [])) for reason in _MEANING}
    for old in out.glob("dropped-*.png"):
        old.unlink()
    files = [out / "report.html"]
    for reason, photos in tiles.items():
        if photos:
            files.append(out / (f"{reason}.png" if reason == "chosen" else f"dropped-{reason.replace(' ', '-')}.png"))
            write_bytes(files[-1], _encode_png(make_photo_sheet(photos, side=_SIDE)))
    data = written.data
    counts = {**data["dropped"], "unreadable": data["unreadable"]}
    write_page(
        out / "report.html",
        __package__,
        data=data,
        command=command,
        rows=_make_class_rows(data["classes"], data["thresholds"]),
        reasons=[
            {
                "name": name,
                "count": counts[name],
                "share": _format_percent(counts[name], data["listed"]),
                "meaning": meaning,
                "kinds": {kind: count for kind, count in data["kinds"].get(name, {}).items() if count},
            }
            for name, meaning in _MEANING.items()
        ],
        strips=[{"name": reason, "tiles": [_make_tile(photo) for photo in photos]} for reason, photos in tiles.items()],
        leaks=data["leaks_of"],
    )
    return files


def _make_class_rows(classes: Sequence[Mapping[str, Any]], limits: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    most = max((row["pool"] for row in classes), default=1) or 1
    return [
        {
            **row,
            "before": f"{100 * row['pool'] / most:.1f}",
            "after": f"{100 * row['chosen'] / most:.1f}",
            "level": f"{limit['level']:.2f}",
            "recall": _format_share(limit["recall"]),
            "precision": _format_share(limit["precision"]),
            "source": limit["source"],
        }
        for row, limit in zip(classes, limits, strict=True)
    ]


def _format_share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f}"


def _format_percent(count: int, total: int) -> str:
    return f"{100 * count / max(total, 1):.1f}"


def _load_photos(some: Sequence[ExampleImage]) -> list[Photo]:
    """Tiles of images that can still be read."""
    photos = []
    for example in some:
        paths = [example.image] if example.of_image is None else [example.image, example.of_image]
        try:
            pictures = [resize_photo(read_image(path), _SIDE) for path in paths]
        except DataError:
            continue
        caption = f"{example.id} = {example.of} ({example.kind})" if example.of else example.id
        photos.append(Photo(caption, pictures))
    return photos


def _make_tile(photo: Photo) -> dict[str, Any]:
    sources = [encode_url(picture, "JPEG", quality=75) for picture in photo.pictures]
    return {"caption": photo.caption, "sources": sources}


def _encode_png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()
