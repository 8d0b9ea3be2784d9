"""``semiovs data normalize``: measure range, mean and standard deviation of the bands of the training images."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semiovs.cli.console import Json, format_table, log, report
from semiovs.cli.data_input import require_yaml
from semiovs.cli.next_steps import format_next
from semiovs.cli.progress import progress

if TYPE_CHECKING:
    from semiovs.audit.band_statistics import BandStatistics
    from semiovs.config.schema import DataConfig
    from semiovs.images.readers import BandReader
    from semiovs.images.record import Record

#: Above this, pixels are not those of 8 bits.
_DEEP = 255
_COLUMNS = ("band", "minimum", "0.1 %", "99.9 %", "maximum", "nodata", "mean", "std")


def normalize(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CONFIG] [KEY=VALUE]...",
            help="Preset, YAML file, or folder with a semiovs.yaml; then values on top.",
        ),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Put what was measured into the YAML file; keeps a copy.")
    ] = False,
    threads: Annotated[int, typer.Option(min=1, help="Threads that read images.")] = 4,
    as_json: Json = False,
) -> None:
    """Measure the bands of labelled and unlabelled images (never those for evaluation); of long lists, 2000 images.

    Without data.bands: all channels of the first image. A training measures by itself what data.mean does not say.
    """
    from semiovs.audit.band_statistics import list_training_images
    from semiovs.config import load_config, split_source
    from semiovs.config.change import change_settings
    from semiovs.registry import DATASETS, lookup

    source, overrides = split_source(arguments or [])
    file = require_yaml(source, "--write") if write else None
    config = load_config(source, overrides).config.data
    records = list_training_images(lookup(DATASETS, config.name, kind="data set").load()(config).read())
    reader, found = _measure(config, records, threads)
    lines = _list_settings(reader, found)
    rows = [
        (
            row.band,
            *(f"{v:.6g}" for v in (row.minimum, row.low, row.high, row.maximum)),
            f"{100 * row.nodata:.2f} %",
            f"{row.mean:.6g}",
            f"{row.std:.6g}",
        )
        for row in found
    ]
    steps = [] if file is None else [shlex.join(["semiovs", "data", "check", *(arguments or [])])]
    data = {"images": len(records), "bands": [row.as_json() for row in found], "data": lines, "next": steps}
    text = format_table(_COLUMNS, rows, title=f"{len(records)} training images; mean and std of values in [0, 1]")
    yaml = "\n".join(
        ["data:", *(f"  {key}: {value}" for key, value in lines.items()), *filter(None, [format_next(steps)])]
    )
    if file is not None:
        log(change_settings(file, {f"data.{key}": value for key, value in lines.items()}))
    report(data, as_json=as_json, text=f"{text}\n{_suggest_range(reader, found)}\n{yaml}")


def _measure(
    config: DataConfig, records: Sequence[Record], threads: int
) -> tuple[BandReader, tuple[BandStatistics, ...]]:
    """Measure the bands; pixels without a default range are read twice, first to find one."""
    from semiovs.audit.band_statistics import measure_bands
    from semiovs.errors import DataError
    from semiovs.images.pixels import read_pixels
    from semiovs.images.readers import DEFAULT_SPANS, BandReader, make_image_reader

    if not records:
        raise DataError("there are no training images to measure; set data.labeled or data.unlabeled")
    first = read_pixels(records[0].image)
    reader = make_image_reader(config)
    if not isinstance(reader, BandReader):
        reader = BandReader(tuple(range(1, first.channels + 1)))
    known = reader.spans is not None or first.values.dtype.name in DEFAULT_SPANS
    with progress("measuring" if known else "measuring the range") as show:
        found = measure_bands(records, reader, threads=threads, progress=show, scaled=known)
    if known:
        return reader, found
    reader = replace(reader, spans=tuple(_round_span(row) for row in found))
    with progress("measuring") as show:
        return reader, measure_bands(records, reader, threads=threads, progress=show)


def _suggest_range(reader: BandReader, found: Sequence[BandStatistics]) -> str:
    """Suggest a range for 16-bit files that use little of it: they look black to people and teachers."""
    high = max(row.high for row in found)
    if reader.spans is not None or not _DEEP < high < 65535 / 2:
        return ""
    return (
        f"nearly all values end at {high:.3g} of 65535: with data.range=[0,{high:.3g}] people and teachers see more "
        f"than black; "
        "measure again with it\n"
    )


def _round_span(row: BandStatistics) -> tuple[float, float]:
    """Round the range of almost all values; a constant band gets a range of width 1."""
    low, high = (float(f"{value:.4g}") for value in (row.low, row.high))
    return (low, high) if low < high else (low, low + 1)


def _list_settings(reader: BandReader, found: Sequence[BandStatistics]) -> dict[str, Any]:
    """The settings for section `data` of the configuration."""
    spans = reader.spans
    shared = spans is not None and len(set(spans)) == 1
    ranges = {} if spans is None else {"range": list(spans[0]) if shared else [list(span) for span in spans]}
    moments = {"mean": [row.mean for row in found], "std": [row.std for row in found]}
    return {"bands": list(reader.take), **ranges, **moments}
