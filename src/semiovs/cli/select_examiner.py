"""What looks at the images that ``semiovs select`` chooses from: who sees the classes, and what compares pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from semiovs.cli import teacher_options
from semiovs.cli.console import log
from semiovs.errors import UsageError

if TYPE_CHECKING:
    from semiovs.ovs.base import OpenVocabModel
    from semiovs.select.scan import Examiner
    from semiovs.vocab import Vocabulary


@dataclass(frozen=True)
class ClassReader:
    """Source of the classes in an image: teacher or labels.

    name: for the report; build: makes it, here or in another process; None: nobody is asked; masks: store or folder of
    masks that training reads; options: those of `semiovs label` that ask the same teacher, empty without one.
    """

    name: str
    build: Callable[[], OpenVocabModel] | None
    masks: Path | None = None
    options: Sequence[str] = ()


def make_class_reader(
    teacher: str | None,
    scores: str | None,
    mapping: Sequence[str] | None,
    pairs: Sequence[str],
    weights: Path | None,
    vocabulary: Vocabulary,
    *,
    yes: bool,
) -> ClassReader:
    """Make the source of classes that ``--teacher`` or ``--scores`` names.

    Raises:
        UsageError: none of the two, or both; others as `TeacherChoice.resolve`.
    """
    from semiovs.engine.teacher_choice import TeacherChoice
    from semiovs.ovs.stored_answers import StoredTeacher

    if (teacher is None) == (scores is None):
        raise UsageError("say who sees the classes: --teacher NAME, or --scores STORE (or a folder of masks, or none)")
    if scores == "none":
        return ClassReader("none", None)
    if teacher is not None:
        typed = TeacherChoice(teacher, weights, map=mapping, pairs=pairs)
        choice = typed.resolve(vocabulary, agree=teacher_options.make_agree(yes=yes), say=log)
        return ClassReader(choice.name, choice.build, options=choice.arguments(same_images=True))
    assert scores is not None
    folder = Path(scores).expanduser()
    if (folder / "meta.json").is_file():
        return ClassReader("store", partial(StoredTeacher, folder, vocabulary), folder)
    choice = TeacherChoice("masks", root=folder, map=mapping, pairs=pairs)
    if choice.map or choice.pairs or any(folder.rglob("*.np[yz]")):  # training reads masks of ids alone
        return ClassReader("masks", choice.build, options=choice.arguments(same_images=True))
    return ClassReader("masks", choice.build, folder)


def build_examiner(
    vocabulary: Vocabulary, class_reader: ClassReader, share: float, encoder: str | None, batch_size: int
) -> Examiner:
    """Make what computes the rows of images, with its models.

    encoder: as typed, NAME or NAME=FILE; None: the built-in description.

    Raises:
        UsageError, ConfigError, WeightsError, DataError: a teacher or encoder that cannot be made, or that does not
        know these classes.
    """
    from semiovs.select.scan import Examiner

    teacher = None if class_reader.build is None else class_reader.build()
    if teacher is not None:
        teacher.check_vocabulary(vocabulary)
    identity = {} if teacher is None else teacher.describe()
    if encoder is None:
        return Examiner(vocabulary, teacher, identity, share, batch_size=batch_size)
    from semiovs.models.embedding import WIDTH, Embedding

    name, _, file = encoder.partition("=")
    return Examiner(vocabulary, teacher, identity, share, Embedding(name, file or True), (encoder, WIDTH), batch_size)
