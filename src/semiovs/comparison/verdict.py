"""A comparison in sentences."""

from __future__ import annotations

from collections.abc import Iterable

from semiovs.comparison.difference import ClassDifference, Comparison, Difference
from semiovs.duration import format_duration

#: What to try where OOD images hurt some classes; `{classes}` are these.
OOD_REMEDY = "lower ood.weight, or select OOD images without {classes}"


def describe_comparison(
    comparison: Comparison,
    subject: str = "the images",
    *,
    remedy: str | None = None,
) -> tuple[str, ...]:
    """Sentences, the verdict first: by how much, how certain, what limits it, and which classes.

    subject: what the other arm has and the base has not, a plural ("OOD images"); remedy: what to try where classes got
    worse, with `{classes}` for their names (`OOD_REMEDY`).
    """
    return (
        state_verdict(comparison, subject),
        _state_certainty(comparison),
        *(f"{note[0].upper()}{note[1:]}." for note in comparison.notes),
        *_advise_on_classes(comparison, subject, remedy),
    )


def state_verdict(comparison: Comparison, subject: str = "the images") -> str:
    """One sentence: whether the subject helped, and by how much."""
    difference = comparison.difference
    amount = f"{_format_change(difference)} mIoU (from {comparison.base.mean:.1f} to {comparison.other.mean:.1f})"
    start = f"{subject[0].upper()}{subject[1:]}"
    if comparison.verdict in ("helped", "hurt"):
        return f"{start} {comparison.verdict}: {amount}."
    if comparison.verdict == "cannot tell":
        return f"Cannot tell whether {subject} help or hurt: {amount}.{_explain_doubt(comparison)}"
    return f"{start.rstrip(',')}: {amount}. Too few seeds for a verdict."


def _explain_doubt(comparison: Comparison) -> str:
    difference = comparison.difference
    if comparison.notes or not difference.detectable:
        return ""
    if difference.excludes_zero:
        return " The interval leaves out 0, but the seeds do not agree well enough."
    return f" A true difference of {difference.detectable:.1f} points would probably have been seen, less perhaps not."


def _state_certainty(comparison: Comparison) -> str:
    seeds, difference = comparison.seeds, comparison.difference
    count, side = (difference.worse, "worse") if difference.direction == "worse" else (difference.better, "better")
    unit = "group" if comparison.grouped else "image"
    where = f"on {comparison.images} {_pluralize('image', comparison.images)}"
    where += f" in {comparison.groups} {_pluralize('group', comparison.groups)}" if comparison.grouped else ""
    text = f"{side.capitalize()} in {count} of {seeds} {_pluralize('seed', seeds)} {where}"
    if seeds > 1:
        smallest = ", the smallest that so few seeds can give" if comparison.p <= comparison.smallest_p else ""
        text += f"; p = {comparison.p:.2g} over seeds{smallest}"
    if difference.interval is not None:
        over = f"other {unit}s" if seeds == 1 else f"other seeds and other {unit}s"
        text += f". Brackets are {difference.level:.0%} intervals over {over}"
    return f"{text}."


def state_cost(base: float, other: float) -> str:
    """One sentence: the seconds of one training with and without the subject."""
    share = f" ({(other - base) / base:+.0%})" if base > 0 else ""
    return f"A training took {format_duration(other)}, without them {format_duration(base)}{share}."


def _advise_on_classes(comparison: Comparison, subject: str, remedy: str | None) -> Iterable[str]:
    helped = [row for row in comparison.classes if row.verdict == "helped"]
    hurt = [row for row in comparison.classes if row.verdict == "hurt"]
    said = [f"{verb} {_list_classes(rows)}" for verb, rows in (("helped", helped), ("hurt", hurt)) if rows]
    if said:
        advice = f": {remedy.format(classes=_join(row.name for row in hurt))}" if hurt and remedy else ""
        yield f"{subject[0].upper()}{subject[1:]} {' and '.join(said)}{advice}."
        if len(comparison.classes) > 1:
            yield f"The intervals of classes are widened, because {len(comparison.classes)} classes are compared."


def _list_classes(rows: list[ClassDifference]) -> str:
    largest = sorted(rows, key=lambda row: (-abs(row.difference.mean), row.name))
    return _join(f"{row.name} ({_format_change(row.difference)})" for row in largest)


def _format_change(difference: Difference) -> str:
    interval = difference.interval
    return f"{difference.mean:+z.1f}" + ("" if interval is None else f" [{interval[0]:.1f}, {interval[1]:.1f}]")


def _join(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _pluralize(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"
