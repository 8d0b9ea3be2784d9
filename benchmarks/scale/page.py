"""The tables and the figure of docs/scale.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.scale.plan import LABELLING, ImageCost, Plan, format_bytes, format_count, format_time
from semiovs.clusters.ray_blocks import BLOCK

PAGE = Path("docs/scale.md")
STAGES, FLEET = Path("docs/results/scale-stages.json"), Path("docs/results/scale-fleet.json")
CHART = Path("docs/results/scale-fleet.svg")
_STAGES = {
    "read": "read the file, which is in memory",
    "decode": "read and decode it (JPEG)",
    "resize": "resize it to 768x768 (Pillow, bilinear)",
    "write": "label and confidence: encode, write durably, index",
    "check": "`data check`, of an image",
    "features": "`select`: the look at an image, without a teacher",
}
#: Sizes of tasks that are in the figure alone.
_DRAWN_ONLY = (31_250, 125_000)
_COLORS = ("#3b6ea5", "#5a9367", "#d08c2e", "#c0504d")
_NOT_YET = ["*not yet run*"]


def stages(measured: Mapping[str, Any] | None) -> list[str]:
    """CPU time of each stage on each set."""
    if measured is None:
        return _NOT_YET
    sets, hardware = measured["sets"], measured["hardware"]
    before, after = measured["load"]["before"][0], measured["load"]["after"][0]
    lines = [
        f"Measured on {measured['date']}: {hardware['cpu']} ({hardware['family']}), {hardware['cores']} cores shared "
        f"with other work (load average {before:g} to {after:g}); CPU time of one thread, median of three runs.",
        "",
        f"| milliseconds an image | {' | '.join(row['name'] for row in sets)} |",
        f"|---|{'---:|' * len(sets)}",
    ]
    for stage, told in _STAGES.items():
        cells = (f"{row['cpu_ms'][stage]:.3g}" for row in sets)
        lines.append(f"| {told} | {' | '.join(cells)} |")
    lines.append(f"| the same label written, wall time, one thread | {_cells(sets, 'write_wall_ms')} |")
    listing, index = measured["listing"], measured["index"]
    return [
        *lines,
        "",
        f"Listing a folder of {listing['files']:,} files took {listing['wall_s']:.3g} s; opening an index of "
        f"{index['lines']:,} lines {index['cpu_s']:.2g} s and {format_bytes(index['memory_bytes'])} of memory.",
    ]


def storage(measured: Mapping[str, Any] | None) -> list[str]:
    """Bytes of images and labels of real stores."""
    if measured is None:
        return _NOT_YET
    sets = measured["sets"]
    names = {
        "image_bytes": "image, JPEG",
        "label_bytes": "label, PNG",
        "confidence_bytes": "confidence, PNG",
        "disk_bytes": "label and confidence on the disk, whole blocks",
        "index_bytes": "line of the index",
    }
    return [
        f"| bytes an image, {measured['classes']} classes | {' | '.join(row['name'] for row in sets)} |",
        f"|---|{'---:|' * len(sets)}",
        f"| images | {_cells(sets, 'images')} |",
        f"| pixels | {_cells(sets, 'pixels')} |",
        *(f"| {told} | {_cells(sets, key)} |" for key, told in names.items()),
    ]


def _cells(sets: Sequence[Mapping[str, Any]], key: str) -> str:
    return " | ".join(f"{row[key]:,}" for row in sets)


def decades(measured: Mapping[str, Any] | None) -> list[str]:
    """What a job needs from 10^3 to 10^9 images."""
    if measured is None:
        return _NOT_YET
    cost = ImageCost.of(measured)
    plans = [Plan(10**power, cost) for power in range(3, 10)]
    rows = [plan.rows() for plan in plans]
    shown = [name for name in rows[0] if name != "cores to feed one GPU"]
    return [
        f"| | {' | '.join(f'10<sup>{power}</sup>' for power in range(3, 10))} |",
        f"|---|{'---:|' * len(rows)}",
        *(f"| {name} | {' | '.join(row[name] for row in rows)} |" for name in shown),
        "",
        f"A GPU that labels 200 images a second takes {plans[0].cores:.1f} cores beside it ({', '.join(LABELLING)}).",
    ]


def dispatching(measured: Mapping[str, Any] | None) -> list[str]:
    """What Ray costs."""
    if measured is None or "ray" not in measured:
        return _NOT_YET
    ray = measured["ray"]
    images = BLOCK / (ray["block_cpu_ms"] / 1e3)
    return [
        f"On a cluster of {ray['workers']} workers on this machine that have nothing to do ({ray['blocks']:,}",
        f"blocks in {ray['tasks']} tasks): {ray['cluster_s']:.2g} s until the cluster stands, {ray['first_s']:.2g} s",
        f"more until the first answer; then the process that hands out pays {ray['task_cpu_ms']:.3g} ms of CPU time",
        f"a task and {ray['block_cpu_ms']:.2g} ms a block of {BLOCK} images (wall time, with the workers on the same",
        f"cores: {ray['task_wall_ms']:.3g} and {ray['block_wall_ms']:.2g} ms). So one command can feed at most about",
        f"{float(f'{images:.2g}'):,.0f} images a second, whatever the number of its workers.",
    ]


def fleet(result: Mapping[str, Any] | None) -> list[str]:
    """Wall time of all fleets that were simulated."""
    if result is None:
        return _NOT_YET
    assumed, ideal, rows = result["assumed"], result["ideal_s"], result["rows"]
    rates = sorted({row["preempted"] for row in rows})
    of_all, slow = (assumed["images"], assumed["workers"]), (assumed["slow"], assumed["slowness"])
    lines = [
        f"{format_count(of_all[0])} images, {of_all[1]:,} workers of {assumed['images_per_second']:g} images a second, "
        f"{slow[0]:.0%} of them {slow[1]:g} times as slow, {assumed['restart_s']:g} s until a lost one is replaced;",
        f"wall time in hours, at best {ideal / 3600:.2f} (mean of {result['seeds']} seeds, of one for small tasks).",
        "",
        f"| commands | images of a task | lost with a worker | {' | '.join(_name_rate(rate) for rate in rates)} |",
        f"|---:|---:|---|{'---:|' * len(rates)}",
    ]
    shown = (row for row in rows if row["block"] not in _DRAWN_ONLY)
    for commands, block, kept in dict.fromkeys((r["commands"], r["block"], r["kept"]) for r in shown):
        cells = [_find(rows, commands, block, kept, rate) for rate in rates]
        lost = "the whole task" if kept is None else f"less than {kept} labels"
        lines.append(f"| {commands:,} | {block:,} | {lost} | {' | '.join(map(_hours, cells))} |")
    return lines


def _find(
    rows: Sequence[Mapping[str, Any]], commands: int, block: int, kept: int | None, rate: float
) -> Mapping[str, Any] | None:
    wanted = (commands, block, kept, rate)
    return next((r for r in rows if (r["commands"], r["block"], r["kept"], r["preempted"]) == wanted), None)


def _hours(row: Mapping[str, Any] | None) -> str:
    return "" if row is None else f"{row['wall_s'] / 3600:.3g}"


def _name_rate(rate: float) -> str:
    return "never lost" if not rate else f"lost every {format_time(3600 / rate)}"


def chart(result: Mapping[str, Any], path: Path = CHART) -> None:
    """Wall time against the images of a task: by rate in colours, by scheme in lines and marks."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"svg.hashsalt": "semiovs", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot as plt

    rows, kept = result["rows"], result["assumed"]["kept"]
    figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
    for rate, color in zip(sorted({row["preempted"] for row in rows}), _COLORS, strict=True):
        schemes = ((1, kept, "-", "s"), (10, kept, "-", "o"), (10, None, ":", None))
        for commands, keeps, line, mark in schemes:
            of = [r for r in rows if (r["preempted"], r["commands"], r["kept"]) == (rate, commands, keeps)]
            label = _name_rate(rate) if (commands, keeps) == (10, kept) else None
            x, y = [r["block"] for r in of], [r["wall_s"] / 3600 for r in of]
            axes.plot(x, y, line, marker=mark, markersize=4, color=color, label=label, linewidth=1.2)
        for r in rows:
            if r["preempted"] == rate and r["commands"] > 10 and r["kept"]:
                axes.plot(r["block"], r["wall_s"] / 3600, "^", color=color, markersize=6)
    ideal = result["ideal_s"] / 3600
    axes.axhline(ideal, color="black", linewidth=0.8)
    axes.text(2_000, ideal * 0.97, "at best", va="top", fontsize=8)
    _name_axes(axes)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def _name_axes(axes: Any) -> None:
    from matplotlib.lines import Line2D

    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks([2e3, 1e4, 1e5, 1e6], ["2,000", "10,000", "100,000", "1,000,000"])
    axes.set_yticks([1, 1.5, 2, 3, 4, 5, 6], ["1", "1.5", "2", "3", "4", "5", "6"])
    axes.minorticks_off()
    axes.set_ylim(1.2, 6.5)
    axes.set_xlabel("images of a task")
    axes.set_ylabel("hours")
    axes.spines[["top", "right"]].set_visible(False)
    schemes = [
        Line2D([], [], color="gray", marker="s", markersize=4, label="one command"),
        Line2D([], [], color="gray", marker="o", markersize=4, label="10 commands"),
        Line2D([], [], color="gray", linestyle=":", label="10 commands, a lost task is lost whole"),
        Line2D([], [], color="gray", marker="^", linestyle="", label="a share for each worker"),
    ]
    first = axes.legend(loc="upper left", bbox_to_anchor=(0.0, 0.75), frameon=False, fontsize=8)
    axes.add_artist(first)
    axes.legend(handles=schemes, loc="upper left", bbox_to_anchor=(0.28, 0.75), frameon=False, fontsize=8)
