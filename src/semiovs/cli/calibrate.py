"""``semiovs calibrate``: a teacher and the labelled images in, a calibration for `semiovs label` out."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semiovs.cli.console import Json, report, table
from semiovs.cli.progress import progress
from semiovs.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from semiovs.calibration.calibration import Calibration, Rare
    from semiovs.calibration.counts import ScoreCounts
    from semiovs.calibration.fit import CandidateChoice
    from semiovs.data.sources import Sources
    from semiovs.ovs import OpenVocabModel
    from semiovs.vocab import Vocabulary

Teacher = Annotated[str, typer.Option(help="Whose labels (semiovs list teachers).")]
From = Annotated[
    Path | None, typer.Option("--from", metavar="DIR", help="Teacher masks: folder of its answers for the labelled images.")
]  # fmt: skip
Map = Annotated[str | None, typer.Option("--map", help="Teacher masks: meaning of values, as in `semiovs label`.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="OPTION=VALUE", help="Any other option of the teacher.")
]
Weights = Annotated[Path | None, typer.Option(help="Weights of the teacher.")]
Risk = Annotated[
    float, typer.Option(help="Share of wrong pixels among the kept ones of a class that is still allowed.")
]
RareClasses = Annotated[
    str, typer.Option(metavar="global|ignore", help="Classes with too few images: the threshold of all classes, or ignored.")
]  # fmt: skip
Folds = Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images that the teacher sees at once.")]
Arguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="CONFIG [KEY=VALUE]...", help="Its labelled images (data.labeled) and classes are used."),
]


@dataclass(frozen=True)
class Pupil:
    """A teacher that is about to be examined: on which images, under which identity."""

    teacher: OpenVocabModel
    who: dict[str, Any]
    sources: Sources


def calibrate(
    arguments: Arguments = None,
    teacher: Teacher = "masks",
    from_: From = None,
    map_: Map = None,
    set_: Set = None,
    weights: Weights = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The calibration.")] = Path("calibration.json"),
    risk: Risk = 0.1,
    rare: RareClasses = "global",
    candidates: Annotated[
        list[str] | None,
        typer.Option(metavar="VOCABULARY", help="Other concepts for the same classes, to choose from; may be repeated."),
    ] = None,
    folds: Folds = 5,
    batch_size: BatchSize = 1,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Fit thresholds and confidences of a teacher on the labelled images; evaluation masks are never read."""
    from semiovs.calibration.fit import choose_candidate, count_answers, fit

    kind = rare_of(rare)
    pupil = examined(arguments or [], teacher, weights, (from_, map_, set_ or []))
    vocabularies = _candidates(pupil.sources.vocabulary, candidates or [])
    tallies: dict[str, ScoreCounts] = {}
    for name, vocabulary in vocabularies.items():
        with progress(f"asking with {name}" if len(vocabularies) > 1 else "asking the teacher") as show:
            tallies[name] = count_answers(
                pupil.teacher, pupil.sources.labeled, pupil.sources.masks, vocabulary,
                batch_size=batch_size, progress=show, read=pupil.sources.images.rgb,
            )  # fmt: skip
    choice = choose_candidate(tallies, folds=folds) if len(tallies) > 1 else None
    name = choice.name if choice else next(iter(tallies))
    made = fit(
        tallies[name], vocabularies[name], pupil.who, risk=risk, rare=kind,
        manifest=pupil.sources.labeled.hash, choice=choice.as_json() if choice else None,
    )  # fmt: skip
    made.save(out)
    data = {"calibration": str(out), **made.as_json(), "ignored": made.ignored}
    said = [*(arguments or []), "--teacher", teacher, *(["--weights", str(weights)] if weights else [])]
    said += [part for pair in set_ or [] for part in ("--set", pair)]
    report(data, as_json=as_json, text=_text(out, made, choice, said))


def examined(
    arguments: Sequence[str],
    name: str,
    weights: Path | None,
    options: tuple[Path | None, str | None, Sequence[str]],
) -> Pupil:
    """Build the teacher, and find the labelled images of the configuration (those alone)."""
    from semiovs.calibration.calibration import identify_teacher
    from semiovs.cli.teacher_options import teacher_options
    from semiovs.config import load_config, split_source
    from semiovs.ovs import build_ovs
    from semiovs.registry import DATASETS, lookup

    source, overrides = split_source(arguments)
    if source is None and not overrides:
        raise UsageError("give a configuration with labelled images, or data.root=DIR")
    config = load_config(source, overrides).config
    dataset = lookup(DATASETS, config.data.name, kind="data set").load()(config.data)
    sources = dataset.labeled()
    teacher = build_ovs(name, weights=weights, **teacher_options(*options))
    return Pupil(teacher, identify_teacher(name, teacher), sources)


def rare_of(text: str) -> Rare:
    """Value of ``--rare``."""
    if text == "global":
        return "global"
    if text == "ignore":
        return "ignore"
    raise UsageError(f"--rare {text}: global or ignore")


def calibrated(path: Path | None, name: str, teacher: OpenVocabModel, vocabulary: Vocabulary) -> OpenVocabModel:
    """The teacher with the calibration of a file (none: as it is), for `semiovs label`.

    Raises:
        DataError: the file is none, or was made for another teacher or other classes.
    """
    from semiovs.calibration.calibration import CalibratedTeacher, Calibration, identify_teacher
    from semiovs.errors import DataError

    if path is None:
        return teacher
    calibration = Calibration.load(path)
    try:
        calibration.require(vocabulary, identify_teacher(name, teacher))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return CalibratedTeacher(teacher, calibration)


def vocabulary_of(path: Path, wanted: Vocabulary) -> Vocabulary:
    """What the teacher must be asked with, in the colours of the `wanted` classes.

    Raises:
        DataError: the file is no calibration, or for other classes.
    """
    from semiovs.calibration.calibration import Calibration
    from semiovs.errors import DataError

    own = Calibration.load(path).vocabulary
    if difference := own.difference(wanted):
        raise DataError(f"{path}: for other classes: {difference}; run `semiovs calibrate` again")
    return replace(own, colors=wanted.colors)


def _candidates(first: Vocabulary, others: Sequence[str]) -> dict[str, Vocabulary]:
    """Vocabularies by name, the configuration's own first.

    Raises:
        ConfigError: other classes; UsageError: a candidate twice.
    """
    from semiovs.vocab import Vocabulary

    found = {"configuration": first}
    for name in (part for item in others for part in item.split(",")):
        candidate = Vocabulary.load(name)
        if difference := candidate.difference(first):
            raise ConfigError(f"--candidates {name}: {difference}; candidates ask for the same classes in other words")
        if name in found:
            raise UsageError(f"--candidates {name}: given twice")
        found[name] = replace(candidate, colors=first.colors)
    return found


def _text(out: Path, made: Calibration, choice: CandidateChoice | None, said: Sequence[str]) -> str:
    words = {"controlled": "", "global": "few images: threshold of all classes", "few": "few images: ignored"}
    words["unusable"] = "unusable at any threshold: ignored"
    rows = [
        [
            rule.name, rule.images,
            "-" if rule.ignored else f"{rule.threshold / 255:.2f}",
            f"{rule.presence / 255:.2f}" if rule.presence else "",
            f"{100 * rule.coverage:.0f}", "-" if rule.ignored else f"{100 * rule.precision:.0f}",
            words[rule.status],
        ]
        for rule in made.classes
    ]  # fmt: skip
    lines = [
        table(["class", "images", "score from", "presence from", "kept %", "right %", ""], rows,
              title=f"{made.fitted_on['images']} labelled images, risk {made.risk:g}"),
        *([] if choice is None else _chosen(choice)),
        f"{out}: calibration {made.hash}; kept % and right % are of the images it was fitted on, "
        "`semiovs card` measures on left-out ones",
        f"next: {shlex.join(['semiovs', 'label', *said, '--calibration', str(out)])}",
    ]  # fmt: skip
    return "\n".join(lines)


def _chosen(choice: CandidateChoice) -> list[str]:
    scores: Mapping[str, float] = choice.scores
    shown = ", ".join(f"{name} {score:.1f}" for name, score in scores.items())
    wins = choice.winners.count(choice.name)
    return [
        f"asked with {choice.name}: mIoU {shown}; best without {wins} of {len(choice.winners)} folds; "
        f"mIoU {choice.estimate:.1f} on the folds left out of the choice"
    ]
