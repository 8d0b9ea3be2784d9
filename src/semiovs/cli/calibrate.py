"""``semiovs calibrate``: fit a teacher's thresholds and confidences on the labelled images, for `semiovs label`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semiovs.cli import teacher_options as options
from semiovs.cli.console import Json, format_table, report
from semiovs.cli.next_steps import format_next, propose_another_teacher
from semiovs.cli.progress import progress
from semiovs.errors import ConfigError, DataError, UsageError

if TYPE_CHECKING:
    from semiovs.calibration.calibration import Calibration
    from semiovs.calibration.counts import ScoreCounts
    from semiovs.calibration.fit import CandidateChoice
    from semiovs.calibration.learning import Learning, TaughtTeacher
    from semiovs.calibration.verdict import Verdict
    from semiovs.data.collection import Collection
    from semiovs.engine.teacher_choice import TeacherChoice
    from semiovs.vocab import Vocabulary


_Out = Annotated[Path, typer.Option(metavar="FILE", help="File to write the calibration to.")]
_Candidates = Annotated[
    list[str] | None,
    typer.Option(
        metavar="VOCABULARY",
        help="Other concepts for the same classes; the best vocabulary is chosen; may be repeated.",
    ),
]


def calibrate(
    arguments: options.Labeled = None,
    teacher: options.Teacher = "masks",
    from_: options.From = None,
    map_: options.Map = None,
    set_: options.Set = None,
    weights: options.Weights = None,
    out: _Out = Path("calibration.json"),
    risk: options.Risk = 0.1,
    rare: options.RareClasses = "global",
    candidates: _Candidates = None,
    folds: options.Folds = 5,
    group_by: options.GroupBy = None,
    batch_size: options.BatchSize = 1,
    yes: options.Yes = False,
    as_json: Json = False,
) -> None:
    """Fit thresholds and confidences of a teacher on the labelled images; evaluation masks are never read.

    Exit code 3 if the teacher is useless there.
    """
    from semiovs.calibration.calibration import identify_teacher
    from semiovs.calibration.fit import fit
    from semiovs.calibration.learning import teach
    from semiovs.calibration.seen_images import describe_seen_images
    from semiovs.calibration.verdict import Verdict
    from semiovs.config.option_texts import parse_rare

    kind, given = parse_rare(rare), arguments or []
    typed = options.type_teacher(teacher, weights, from_, map_, set_)
    images, asker = options.read_labeled_images(given, typed, yes=yes)
    asked, vocabularies = asker.build(), _load_candidates(images.vocabulary, candidates or [])
    taught = {name: teach(asked, images, words, folds=folds, group=group_by) for name, words in vocabularies.items()}
    tallies = _measure_teacher(taught, images, vocabularies, batch_size)
    choice = _choose(tallies, taught, folds)
    name = choice.name if choice else next(iter(tallies))
    made = fit(
        tallies[name],
        vocabularies[name],
        identify_teacher(asker.name, taught[name].whole),
        risk=risk,
        rare=kind,
        manifest=images.labeled.hash,
        choice=choice.as_json() if choice else None,
    )
    made.save(out)
    verdict, seen = Verdict.of(tallies[name], made), describe_seen_images(asker.list_places(), images)
    step = propose_another_teacher(given) if verdict.useless else _propose_labelling(given, asker, out)
    text = _format_text(out, made, choice)
    _report_calibration(out, made, verdict, (seen, taught[name].learning), step, text, as_json=as_json)


def _report_calibration(
    out: Path,
    made: Calibration,
    verdict: Verdict,
    doubts: tuple[str, Learning | None],
    step: str,
    text: str,
    *,
    as_json: bool,
) -> None:
    """Print it, and what to know beside it; exit code 3 for a useless teacher. doubts: as `seen` and `learning` of a
    `TeacherCard`.
    """
    seen, learning = doubts
    told = {"seen": seen or None, "learning": None if learning is None else learning.as_json()}
    data = {"calibration": str(out), **made.as_json(), "ignored": made.ignored, **verdict.as_json(), **told}
    notes = [verdict.line if verdict.useless else "", seen, "" if learning is None else learning.line]
    lines = [text, *notes, format_next([step])]
    report({**data, "next": [step]}, as_json=as_json, text="\n".join(filter(None, lines)))
    if verdict.useless:
        raise typer.Exit(DataError.exit_code)


def _propose_labelling(arguments: Sequence[str], teacher: TeacherChoice, out: Path) -> str:
    """The command that labels OOD images with the calibration; a comment if it lacks something."""
    from semiovs.config import load_config, split_source

    lacks, words = [], [*arguments, *teacher.arguments()]
    if load_config(*split_source(arguments)).config.ood is None:
        lacks.append("--images DIR: images from elsewhere")
        words += ["--images", "DIR"]
    if teacher.root is not None:
        lacks.append("--from DIR: their masks or scores")
        words += ["--from", "DIR"]
    command = shlex.join(["semiovs", "label", *words, "--calibration", str(out)])
    return f"# with {'; '.join(lacks)}; then: {command}" if lacks else command


def _measure_teacher(
    taught: Mapping[str, TaughtTeacher], images: Collection, vocabularies: Mapping[str, Vocabulary], batch_size: int
) -> dict[str, ScoreCounts]:
    """Count the teacher's right and wrong pixels on the labelled images, for each vocabulary."""
    from semiovs.calibration.fit import count_answers

    tallies: dict[str, ScoreCounts] = {}
    for name, vocabulary in vocabularies.items():
        with progress(f"asking with {name}" if len(vocabularies) > 1 else "asking the teacher") as show:
            tallies[name] = count_answers(
                taught[name].measured,
                images.labeled,
                images.masks,
                vocabulary,
                batch_size=batch_size,
                progress=show,
                read=images.images.read_rgb,
            )
    return tallies


def _choose(
    tallies: Mapping[str, ScoreCounts], taught: Mapping[str, TaughtTeacher], folds: int
) -> CandidateChoice | None:
    """Which vocabulary to ask with, by cross-validation; None where there is only one."""
    from semiovs.calibration.fit import choose_candidate

    units = next(iter(taught.values())).units
    return choose_candidate(tallies, folds=folds, units=units) if len(tallies) > 1 else None


def _load_candidates(first: Vocabulary, others: Sequence[str]) -> dict[str, Vocabulary]:
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


def _format_text(out: Path, made: Calibration, choice: CandidateChoice | None) -> str:
    words = {"controlled": "", "global": "few images: threshold of all classes", "few": "few images: ignored"}
    words["unusable"] = "unusable at any threshold: ignored"
    rows = [
        [
            rule.name,
            rule.images,
            "-" if rule.ignored else f"{rule.threshold / 255:.2f}",
            f"{rule.presence / 255:.2f}" if rule.presence else "",
            f"{100 * rule.coverage:.0f}",
            "-" if rule.ignored else f"{100 * rule.precision:.0f}",
            words[rule.status],
        ]
        for rule in made.classes
    ]
    lines = [
        format_table(
            ["class", "images", "score from", "presence from", "kept %", "right %", ""],
            rows,
            title=f"{made.fitted_on['images']} labelled images, risk {made.risk:g}",
        ),
        *([] if choice is None else _describe_choice(choice)),
        f"{out}: calibration {made.hash}; kept % and right % are of the images it was fitted on, "
        "`semiovs card` measures on left-out ones",
    ]
    return "\n".join(lines)


def _describe_choice(choice: CandidateChoice) -> list[str]:
    scores: Mapping[str, float] = choice.scores
    shown = ", ".join(f"{name} {score:.1f}" for name, score in scores.items())
    wins = choice.winners.count(choice.name)
    return [
        f"asked with {choice.name}: mIoU {shown}; best without {wins} of {len(choice.winners)} folds; "
        f"mIoU {choice.estimate:.1f} on the folds left out of the choice"
    ]
