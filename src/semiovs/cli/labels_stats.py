"""``semiovs labels stats``: statistics of a store of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from semiovs.cli.console import Json, format_table, report
from semiovs.cli.progress import progress
from semiovs.cli.store_options import StoreFolder
from semiovs.object_store import show_path

if TYPE_CHECKING:
    from semiovs.store import PseudoLabelStore
    from semiovs.store.stats import ConfidenceStats, StoreStats


def stats(
    store: StoreFolder,
    sample: Annotated[
        int, typer.Option(min=0, help="Images whose confidences are read, evenly spread over the store; 0: none.")
    ] = 1000,
    as_json: Json = False,
) -> None:
    """Print classes, ignored pixels, confidences and size."""
    from semiovs.store import PseudoLabelStore, count_classes
    from semiovs.store.stats import count_bytes, measure_confidence, sample_evenly

    opened = PseudoLabelStore.open(store)
    counted = count_classes(opened)
    with progress("reading confidences") as show:
        graded = measure_confidence(opened, sample_evenly(opened.ids(), sample), progress=show)
    size = count_bytes(store)
    total = max(sum(counted.pixels.values()) + counted.ignored, 1)
    data = {
        "store": show_path(store),
        "vocabulary": opened.vocabulary.hash,
        "teacher": opened.teacher,
        **counted.as_json(),
        "shares": {name: round(pixels / total, 6) for name, pixels in counted.pixels.items()},
        "ignored_share": round(counted.ignored_share, 6),
        "confidence": graded.as_json(),
        "bytes": size,
    }
    report(data, as_json=as_json, text=_format_text(opened, counted, graded, size))


def _format_text(store: PseudoLabelStore, counted: StoreStats, graded: ConfidenceStats, size: int) -> str:
    total = max(sum(counted.pixels.values()) + counted.ignored, 1)
    rows = [
        (
            name,
            f"{100 * pixels / total:.2f}%",
            counted.images_with[name],
            f"{graded.by_class[name]:.3f}" if name in graded.by_class else "-",
        )
        for name, pixels in counted.pixels.items()
    ]
    each = size / counted.images / 1024 if counted.images else 0
    lines = [
        f"{show_path(store.root)}: {counted.images} images, {size / 2**20:.1f} MiB ({each:.1f} KiB an image), "
        f"teacher '{store.teacher.get('name', '?')}', vocabulary {store.vocabulary.hash}",
        format_table(["class", "pixels", "images", "confidence"], rows),
        f"ignored: {100 * counted.ignored_share:.2f}% of the pixels",
    ]
    if graded.mean is not None:
        bars = "  ".join(f"{i / 10:.1f}: {100 * share:.1f}%" for i, share in enumerate(graded.histogram))
        without = graded.sampled - graded.with_confidence
        lines.append(
            f"confidence of {graded.sampled} images: mean {graded.mean:.3f}"
            + (f" ({without} have none, which counts as 1)" if without else "")
            + f"\n  from {bars}"
        )
    return "\n".join(lines)
