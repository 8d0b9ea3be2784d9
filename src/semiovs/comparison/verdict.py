"""A comparison in sentences."""

from __future__ import annotations

from collections.abc import Iterable

from semiovs.comparison.difference import GROUPS_NEEDED, ClassDifference, Comparison, Difference
from semiovs.duration import format_duration

#: What to try where OOD images hurt some classes; `{classes}` are these.
OOD_REMEDY = "lower ood.weight, or select OOD images without {classes}"

#: Points of mIoU that an exported file may differ by and be called the same: less than the last digit that is printed.
NOTHING = 0.05


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


def describe_files(comparison: Comparison, title: str) -> tuple[str, ...]:
    """Sentences on two forms of the same weights: what the second, exported files called `title`, costs.

    The verdict first; then on how much it stands, and the classes.
    """
    verbs = ("gains in", "loses in")
    return (
        _state_file_verdict(comparison, title),
        _state_basis(comparison),
        *(f"{note[0].upper()}{note[1:]}." for note in comparison.notes),
        *_advise_on_classes(comparison, title, None, verbs),
    )


def name_verdict(found: Comparison | ClassDifference, *, same_weights: bool) -> str:
    """The verdict in a word or two; of an exported file it is about what it costs."""
    if not same_weights:
        return found.verdict
    return "same" if _is_same(found) else {"helped": "gains", "hurt": "costs"}.get(found.verdict, found.verdict)


def _is_same(found: Comparison | ClassDifference) -> bool:
    """Whether the images are enough for a verdict, and the whole interval is 0.0 in the usual digits."""
    interval = found.difference.interval
    return found.groups >= GROUPS_NEEDED and interval is not None and max(map(abs, interval)) < NOTHING


def _state_file_verdict(comparison: Comparison, title: str) -> str:
    difference = comparison.difference
    scores = f"(from {comparison.base.mean:.2f} to {comparison.other.mean:.2f})"
    amount = f"{_format_change(difference, digits=2)} points {scores}"
    start = begin_sentence(title)
    if _is_same(comparison):
        return f"{start} scores like {comparison.base.name}, within {NOTHING} points of mIoU: {amount}."
    if comparison.verdict in ("helped", "hurt"):
        return f"{start} {name_verdict(comparison, same_weights=True)} mIoU: {amount}."
    if comparison.groups < GROUPS_NEEDED or difference.interval is None:
        change, few = _format_change(difference, digits=2), "groups" if comparison.grouped else "images"
        return f"{start}: {change} points of mIoU {scores}. Too few {few} for a verdict."
    most = -difference.interval[0]
    return f"{start} costs at most {most:z.2f} points of mIoU, perhaps nothing: {amount}."


def state_verdict(comparison: Comparison, subject: str = "the images") -> str:
    """One sentence: whether the subject helped, and by how much."""
    difference = comparison.difference
    amount = f"{_format_change(difference)} mIoU (from {comparison.base.mean:.1f} to {comparison.other.mean:.1f})"
    start = begin_sentence(subject)
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
    text = f"{side.capitalize()} in {count} of {_count('seed', seeds)} on {_count_images(comparison)}"
    if seeds > 1:
        smallest = ", the smallest that so few seeds can give" if comparison.p <= comparison.smallest_p else ""
        text += f"; p = {comparison.p:.2g} over seeds{smallest}"
    return f"{text}.{_explain_brackets(comparison)}"


def _state_basis(comparison: Comparison) -> str:
    weights = "one training" if comparison.seeds == 1 else f"{comparison.seeds} seeds"
    return f"Measured on {_count_images(comparison)}, with the weights of {weights}.{_explain_brackets(comparison)}"


def _count_images(comparison: Comparison) -> str:
    where = f" in {_count('group', comparison.groups)}" if comparison.grouped else ""
    return f"{_count('image', comparison.images)}{where}"


def _explain_brackets(comparison: Comparison) -> str:
    if comparison.difference.interval is None:
        return ""
    unit = "groups" if comparison.grouped else "images"
    over = f"other {unit}" if comparison.seeds == 1 else f"other seeds and other {unit}"
    return f" Brackets are {comparison.difference.level:.0%} intervals over {over}."


def state_cost(base: float, other: float) -> str:
    """One sentence: the seconds of one training with and without the subject."""
    share = f" ({(other - base) / base:+.0%})" if base > 0 else ""
    return f"A training took {format_duration(other)}, without them {format_duration(base)}{share}."


def _advise_on_classes(
    comparison: Comparison, subject: str, remedy: str | None, verbs: tuple[str, str] = ("helped", "hurt")
) -> Iterable[str]:
    helped = [row for row in comparison.classes if row.verdict == "helped"]
    hurt = [row for row in comparison.classes if row.verdict == "hurt"]
    said = [f"{verb} {_list_classes(rows)}" for verb, rows in zip(verbs, (helped, hurt), strict=True) if rows]
    if said:
        advice = f": {remedy.format(classes=_join(row.name for row in hurt))}" if hurt and remedy else ""
        yield f"{begin_sentence(subject)} {' and '.join(said)}{advice}."
        if len(comparison.classes) > 1:
            yield f"The intervals of classes are widened, because {len(comparison.classes)} classes are compared."


def _list_classes(rows: list[ClassDifference]) -> str:
    largest = sorted(rows, key=lambda row: (-abs(row.difference.mean), row.name))
    return _join(f"{row.name} ({_format_change(row.difference)})" for row in largest)


def _format_change(difference: Difference, digits: int = 1) -> str:
    interval = difference.interval
    shown = "" if interval is None else " [{:z.{d}f}, {:z.{d}f}]".format(*interval, d=digits)
    return f"{difference.mean:+z.{digits}f}{shown}"


def begin_sentence(subject: str) -> str:
    """The subject at the beginning of a sentence; keys of settings stay as they are written."""
    return f"{subject[0].upper()}{subject[1:]}" if subject.partition(" ")[0].rstrip(",").isalpha() else subject


def _join(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _count(noun: str, count: int) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
