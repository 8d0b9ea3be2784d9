"""The page of a comparison: the verdict, the differences with their intervals, the arms, the classes, the cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from semiovs.comparison.arms import ARMS
from semiovs.comparison.results import Answer, Results
from semiovs.comparison.tuned_settings import choose_best, format_score
from semiovs.comparison.verdict import begin_sentence, name_verdict
from semiovs.duration import format_duration
from semiovs.report.figures import escape_math, render_svg, simplify_axes
from semiovs.report.page import write_page

#: Colours of a difference that helped, hurt, or cannot be told (also for people with colour-blindness).
_INK = {"helped": "#009e73", "hurt": "#d55e00", "cannot tell": "#5c6470", "descriptive": "#0072b2"}


def write_comparison_page(path: Path, results: Results) -> None:
    """Write the page, one file that opens offline."""
    answers = results.answers
    head = answers[0].comparison if answers else None
    write_page(
        path,
        __package__,
        title=_choose_title(results),
        results=results,
        head=head,
        says=(*results.says, *answers[0].cost) if answers else (),
        verdicts=max(1, sum(answer.question.same_weights for answer in answers)),
        answers=[_describe_answer(answer) for answer in answers],
        forest=_plot_differences(answers) if answers else "",
        seeds=_plot_seeds(results),
        classes=[_describe_classes(answer) for answer in _choose_shown(answers)],
        tuned=_list_tuned(results),
        ink=_INK,
        duration=format_duration,
    )


def _choose_title(results: Results) -> str:
    if results.has_files:
        return "What does the export cost?"
    known = {arm.name for arm in ARMS}
    return "Did the images help?" if all(arm.arm.name in known for arm in results.arms) else "Did the settings help?"


def _choose_shown(answers: list[Answer]) -> list[Answer]:
    """Those whose classes are shown: the verdict's, and each exported file's of which a class differs."""
    files = [answer for answer in answers if answer.question.same_weights]
    differing = [file for file in files if any(row["verdict"] != "same" for row in _list_classes(file))]
    return differing or answers[:1]


def _describe_answer(answer: Answer) -> dict[str, Any]:
    found = answer.comparison
    interval = found.difference.interval
    return {
        "title": f"{found.other.name} vs {found.base.name}",
        "points": f"{found.difference.mean:+z.2f}",
        "interval": "" if interval is None else f"{interval[0]:+z.2f} to {interval[1]:+z.2f}",
        "seeds": f"{found.difference.better} of {found.seeds}",
        "p": f"{found.p:.3f}" if found.seeds > 1 else "",
        "verdict": answer.verdict,
        "ink": _INK[found.verdict],
        "says": answer.sentences,
    }


def _list_tuned(results: Results) -> list[dict[str, Any]]:
    titles = {result.arm.name: result.arm.title for result in results.arms}
    return [
        {
            "arm": titles.get(name, name),
            "settings": " ".join(trial.settings),
            "miou": format_score(trial),
            "chosen": trial.settings == choose_best(trials),
        }
        for name, trials in results.tuned.items()
        for trial in trials
    ]


def _describe_classes(answer: Answer) -> dict[str, Any]:
    subject = begin_sentence(answer.question.subject)
    return {"subject": subject, "found": answer.comparison, "rows": _list_classes(answer)}


def _list_classes(answer: Answer) -> list[dict[str, Any]]:
    found = answer.comparison
    rows = sorted(found.classes, key=lambda row: -row.difference.mean)
    return [
        {
            "name": row.name,
            "groups": row.groups,
            "base": f"{row.base:.1f}",
            "other": f"{row.other:.1f}",
            "points": f"{row.difference.mean:+z.1f}",
            "interval": "{:+z.1f} to {:+z.1f}".format(*row.difference.interval) if row.difference.interval else "",
            "verdict": name_verdict(row, same_weights=found.same_weights),
            "ink": _INK[row.verdict],
        }
        for row in rows
    ]


def _plot_differences(answers: list[Answer]) -> str:
    """Each difference with its interval, as SVG."""
    figure = Figure(figsize=(7, 0.9 + 0.5 * len(answers)), layout="constrained")
    axes = figure.add_subplot()
    for place, answer in enumerate(reversed(answers)):
        found = answer.comparison
        low, high = found.difference.interval or (found.difference.mean, found.difference.mean)
        ink = _INK[found.verdict]
        axes.plot([low, high], [place, place], color=ink, linewidth=2.5, solid_capstyle="butt")
        axes.plot(found.difference.mean, place, "o", color=ink, markersize=7)
        axes.plot(found.difference.by_seed, [place - 0.22] * found.seeds, "|", color=ink, markersize=5, alpha=0.7)
    axes.axvline(0, color="#1d2129", linewidth=1)
    names = [f"{answer.comparison.other.name}\nvs {answer.comparison.base.name}" for answer in reversed(answers)]
    axes.set_yticks(range(len(answers)), [escape_math(name) for name in names])
    axes.set_ylim(-0.6, len(answers) - 0.4)
    axes.set_xlabel("points of mIoU; short strokes: single seeds")
    simplify_axes(axes)
    return render_svg(figure)


def _plot_seeds(results: Results) -> str:
    """MIoU of each arm and seed, paired by lines, as SVG."""
    arms = results.arms
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.add_subplot()
    trained = [(place, arm) for place, arm in enumerate(arms) if arm.arm.is_trained]
    for seed in sorted({each.seed for _, arm in trained for each in arm.seeds}):
        points = [
            (place, score)
            for place, arm in trained
            for each, score in zip(arm.seeds, arm.score.by_seed, strict=True)
            if each.seed == seed
        ]
        axes.plot(*zip(*points, strict=True), color="#9aa3af", linewidth=0.9, marker="o", markersize=3.5)
    for place, arm in enumerate(arms):
        axes.plot([place - 0.2, place + 0.2], [arm.score.mean] * 2, color="#0072b2", linewidth=3)
    axes.set_xticks(range(len(arms)), [escape_math(arm.arm.title).replace(" ", "\n") for arm in arms])
    axes.set_ylabel("mIoU, %")
    simplify_axes(axes)
    return render_svg(figure)
