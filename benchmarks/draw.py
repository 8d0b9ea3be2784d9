"""`python -m benchmarks.draw`: tables of performance.md, deploy.md and reliability.md, and charts, of docs/results."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import exports, growth, profile
from benchmarks.chaos import page as reliability
from benchmarks.gpu.pieces import PIECES
from benchmarks.scale import page as large

PAGE = Path("docs/performance.md")
EXPORT_PAGE = Path("docs/deploy.md")
RESULT = Path("docs/results/bench-cpu.json")
CHART = Path("docs/results/bench-cpu.svg")
#: Written by `python -m benchmarks gpu`, where it was run.
GPU = Path("docs/results/bench-gpu.json")
GPU_CHART = Path("docs/results/bench-gpu.svg")
GROWTH_CHART = Path("docs/results/bench-growth.svg")

_TITLES = {
    "loader": "Loader",
    "step": "Training step",
    "counts": "Metric",
    "cutmix": "CutMix",
    "precision": "bf16 or fp32",
    "label": "Labelling",
    "methods": "Methods, against their formulas inlined",
    "paper": "Methods, with the papers' models",
    "corrmatch": "CorrMatch",
    "flow": "DDFP's flow",
    "data": "Data check",
    "reading": "Reading tars, and the cache of decoded images",
}
#: End or whole of a row's name -> (wanted ratio, the goal in words). `bf16` counts only where the hardware computes in
#: it.
_GOALS = {
    "unlabelled sample, fast pipeline": (4.0, "fast pipeline at least 4 times the plain one"),
    "OOD sample, fast pipeline": (4.0, "the same where both read a label"),
    "unlabelled sample, for strong views made on the device": (6.0, "weak view alone at least 6 times the plain one"),
    "photographs, unlabelled sample, fast pipeline": (4.0, "on photographs: at least 4 times"),
    "photographs, OOD sample, fast pipeline": (4.0, "the same where both read a label"),
    "photographs, unlabelled sample, for strong views made on the device": (6.0, "weak view alone at least 6 times"),
    "unlabelled sample, size between processes": (5.0, "at most a fifth of the bytes between processes"),
    "data check, one of two cores": (1.0, "data check: 300 images a second on two cores"),
    "data check, memory of 5000 images, against 500": (0.9, "data check: constant memory"),
    "near copies among 100,000 hashes": (1.0, "near copies among 100,000 hashes in 20 s"),
    ", fp32": (1.0, "fp32 step not slower than the plain one"),
    "step, bf16": (1.3, "bf16 step 1.3 times the plain one, where the hardware has bf16"),
    ", step": (0.95, "no method more than 5 % slower than its own formula inlined"),
    "SED-B aggregator, 48 concepts, 24x24": (2.5, "aggregator of the teacher 2.5 times as fast as the plain one"),
    "SED-B aggregator, 48 concepts, 24x24, extra memory": (2.5, "and in at most 0.4 of its memory"),
    "SED-B image, 171 concepts": (3.0, "a SED-B image with 171 concepts 3 times as fast as by the plain aggregator"),
    "CorrMatch, propagation, 321²x8, nine tenths sure": (10.0, "propagation at least 10 times the loop, on a CPU"),
    "CorrMatch, propagation, operators, 321²x8, nine tenths sure": (10.0, "and in a tenth of its calls"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """With `--check` nothing is written; the exit code tells whether the page is what the results say."""
    check = "--check" in (sys.argv[1:] if arguments is None else arguments)
    result = json.loads(RESULT.read_text("utf-8"))
    before = PAGE.read_text("utf-8")
    on_gpu, grown, profiled, earlier = (_read(path) for path in (GPU, growth.OUT, profile.OUT, profile.BEFORE))
    after = gpu_page(page(before, result), on_gpu)
    after = replace_part(after, "growth", growth.table(grown))
    after = replace_part(after, "profile", profile.table(profiled, earlier))
    exported = EXPORT_PAGE.read_text("utf-8")
    compared = replace_part(exported, "exports", exports.table(_read(exports.OUT)))
    told = reliability.PAGE.read_text("utf-8")
    campaign = replace_part(told, "chaos", reliability.table(_read(reliability.RESULT)))
    campaign = replace_part(campaign, "soak", reliability.soak_table(_read(reliability.SOAK)))
    scaled, planned = large.PAGE.read_text("utf-8"), _draw_scale()
    if check:
        return int((before, exported, told, scaled) != (after, compared, campaign, planned))
    large.PAGE.write_text(planned, "utf-8")
    if (fleets := _read(large.FLEET)) is not None:
        large.chart(fleets)
    reliability.PAGE.write_text(campaign, "utf-8")
    PAGE.write_text(after, "utf-8")
    EXPORT_PAGE.write_text(compared, "utf-8")
    # a step beside one of another method is no "times better"
    chart([row for row in _rows(result) if not row["name"].endswith("beside labelled images alone")], CHART)
    if on_gpu is not None and (with_ratio := [row for row in gpu_rows(on_gpu) if row["ratio"]]):
        chart(with_ratio, GPU_CHART)
    if grown is not None:
        growth.chart(grown, GROWTH_CHART)
    print(f"written: {PAGE}, {CHART}")
    return 0


def _draw_scale() -> str:
    """The page about large jobs, as the results say."""
    text, stages, fleets = large.PAGE.read_text("utf-8"), _read(large.STAGES), _read(large.FLEET)
    drawn = {
        "stages": large.stages(stages),
        "storage": large.storage(stages),
        "decades": large.decades(stages),
        "dispatching": large.dispatching(stages),
        "fleet": large.fleet(fleets),
    }
    for name, lines in drawn.items():
        text = replace_part(text, name, lines)
    return text


def _read(path: Path) -> dict[str, Any] | None:
    """Results, where these were measured."""
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def page(text: str, result: Mapping[str, Any]) -> str:
    """The text with what stands between each pair of markers drawn anew."""
    for name, lines in (("machine", machine(result)), ("goals", goals(result)), ("tables", tables(result))):
        text = replace_part(text, name, lines)
    return text


def replace_part(text: str, name: str, lines: Sequence[str]) -> str:
    begin, end = f"<!-- {name}: begin, drawn by python -m benchmarks.draw -->", f"<!-- {name}: end -->"
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"the markers of '{name}' are gone: {begin} … {end}")
    return "\n".join([head + begin, *lines, end + tail])


def gpu_page(text: str, result: Mapping[str, Any] | None) -> str:
    """The text with the results of a GPU; without them, what would be measured, as not yet run."""
    pieces = {} if result is None else result["pieces"]
    lines = gpu_machine(pieces)
    for piece in PIECES:
        if piece.name not in pieces:
            continue
        lines += ["", f"### GPU: {piece.about}", "", "| what | ours | plain | unit | ratio | smallest–largest | |"]
        lines.append("|---|---:|---:|---|---:|---:|---|")
        lines += [_gpu_line(row) for row in pieces[piece.name]["rows"]]
    waiting = [piece for piece in PIECES if piece.name not in pieces]
    if waiting:
        lines += ["", "| piece | measures | result |", "|---|---|---|"]
        lines += [f"| `{piece.name}` | {piece.about} | *not yet run* |" for piece in waiting]
    return replace_part(text, "gpu", [*lines, ""])


def gpu_machine(pieces: Mapping[str, Any]) -> list[str]:
    """What it was measured on: one GPU, one set of versions, or the file is not one measurement."""
    if not pieces:
        return ["No GPU was at hand."]
    told = {(one["accelerator"], json.dumps(one["versions"])) for one in pieces.values()}
    if len(told) > 1:
        raise SystemExit(f"{GPU}: pieces of several machines or versions: {sorted(told)}")
    first = next(iter(pieces.values()))
    versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
    dates = sorted({one["date"] for one in pieces.values()})
    return [f"Measured on {' to '.join(dict.fromkeys((dates[0], dates[-1])))}: {first['accelerator']}. {versions}."]


def gpu_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [row for piece in result["pieces"].values() for row in piece["rows"]]


def _gpu_line(row: Mapping[str, Any]) -> str:
    plain = "" if row["plain"] is None else _number(row["plain"])
    ratio = f"{row['ratio']:.2f}×" if row["ratio"] else ""
    spread = "" if row["low"] is None else f"{_number(row['low'])}–{_number(row['high'])}"
    name = row["name"].replace("|", "\\|")
    return f"| {name} | {_number(row['value'])} | {plain} | {row['unit']} | {ratio} | {spread} | {row['note']} |"


def machine(result: Mapping[str, Any]) -> list[str]:
    """What it was measured on, as a sentence or two."""
    hardware, subjects = result["hardware"], result["subjects"].values()
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    loads = [load for subject in subjects for load in (*subject["load"]["before"][:1], *subject["load"]["after"][:1])]
    busy = f"load average {min(loads):.1f} to {max(loads):.1f}" if loads else "load unknown"
    return [
        f"Measured on {max(subject['date'] for subject in subjects)}: {hardware['cpu']} ({hardware['family']}; "
        f"{', '.join(hardware['flags'])}), {hardware['cores']} cores shared with other work ({busy}), "
        f"{hardware['memory_gb']} GB, {hardware['threads']} thread.",
        f"Versions: {versions}.",
    ]


def goals(result: Mapping[str, Any]) -> list[str]:
    """Each goal with what was reached."""
    lines = ["| goal | row | reached | |", "|---|---|---:|---|"]
    for row in _rows(result):
        for key, (wanted, words) in _GOALS.items():
            if _belongs(row["name"], key):
                verdict = "met" if row["ratio"] >= wanted else "**missed**"
                lines.append(f"| {words} | {row['name']} | {row['ratio']:.2f}× | {verdict} |")
    return lines


def tables(result: Mapping[str, Any]) -> list[str]:
    """One table a subject."""
    lines: list[str] = []
    for subject, measured in result["subjects"].items():
        lines += ["", f"### {_TITLES[subject]}", "", "| what | ours | plain | unit | ratio | smallest–largest |"]
        lines.append("|---|---:|---:|---|---:|---:|")
        lines += [
            f"| {r['name']} | {_number(r['ours'])} | {_number(r['baseline'])} | {r['unit']} | {r['ratio']:.2f}× | "
            f"{_range(r)} |"
            for r in measured["rows"]
        ]
    return [*lines, ""]


def chart(measured: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Bars of the ratios; the line at 1 is the plain version."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"svg.hashsalt": "semiovs", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot as plt

    rows = list(reversed(measured))
    figure, axes = plt.subplots(figsize=(8, 0.28 * len(rows) + 0.8), layout="constrained")
    ratios = [row["ratio"] for row in rows]
    axes.barh(
        [row["name"] for row in rows],
        [r - 1 for r in ratios],
        left=1,
        color=["#3b6ea5" if r >= 1 else "#c0504d" for r in ratios],
    )
    axes.set_ylim(-0.8, len(rows) - 0.2)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    ticks = [t for t in (0.5, 1, 2, 5, 10, 20) if t <= 1.2 * max(ratios)]
    axes.set_xticks(ticks, [f"{t:g}×" for t in ticks])
    axes.minorticks_off()
    axes.set_xlabel("times better than the plain version")
    axes.spines[["top", "right"]].set_visible(False)
    for index, ratio in enumerate(ratios):
        axes.text(max(ratio, 1) * 1.03, index, f"{ratio:.2f}", va="center", fontsize=8)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def _rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [row for measured in result["subjects"].values() for row in measured["rows"]]


def _belongs(name: str, key: str) -> bool:
    if key == "step, bf16":
        return " step, " in name and name.endswith(", bf16 channels_last")
    return name == key or (key.startswith(",") and name.endswith(key))


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _range(row: Mapping[str, Any]) -> str:
    return "counted" if row["unit"] in ("MB", "calls") else f"{row['low']:.2f}–{row['high']:.2f}"


if __name__ == "__main__":
    raise SystemExit(main())
