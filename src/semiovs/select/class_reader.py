"""What looks at the images that ``semiovs select`` chooses from: who sees the classes, and what compares pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from semiovs.engine.teacher_choice import Agree, TeacherChoice
from semiovs.errors import UsageError
from semiovs.models.embedding import WIDTH, Embedding
from semiovs.ovs.base import OpenVocabModel
from semiovs.ovs.stored_answers import StoredTeacher
from semiovs.progress import Say
from semiovs.select.scan import Examiner
from semiovs.store.meta import is_store
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


@dataclass(frozen=True)
class TypedClassReader:
    """Who sees the classes, as it was typed.

    teacher, weights; or scores, a store or folder; map, pairs: options of these, see `TeacherChoice`.
    """

    teacher: str | None
    scores: str | None
    map: Sequence[str] | None
    pairs: Sequence[str]
    weights: Path | None

    def resolve(self, vocabulary: Vocabulary, *, agree: Agree, say: Say) -> ClassReader:
        """Find the source of classes; nothing is built yet. agree, say: as `TeacherChoice.resolve`.

        Raises:
            UsageError: none of the two, or both; others as `TeacherChoice.resolve`.
        """
        if (self.teacher is None) == (self.scores is None):
            raise UsageError(
                "say who sees the classes: --teacher NAME, or --scores STORE (or a folder of masks, or none)"
            )
        if self.scores == "none":
            return ClassReader("none", None)
        if self.teacher is not None:
            typed = TeacherChoice(self.teacher, self.weights, map=self.map, pairs=self.pairs)
            choice = typed.resolve(vocabulary, agree=agree, say=say)
            return ClassReader(choice.name, choice.build, options=choice.arguments(same_images=True))
        assert self.scores is not None
        folder = Path(self.scores).expanduser()
        if is_store(folder):
            return ClassReader("store", partial(StoredTeacher, folder, vocabulary), folder)
        choice = TeacherChoice("masks", root=folder, map=self.map, pairs=self.pairs)
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
    teacher = None if class_reader.build is None else class_reader.build()
    if teacher is not None:
        teacher.check_vocabulary(vocabulary)
    identity = {} if teacher is None else teacher.describe()
    if encoder is None:
        return Examiner(vocabulary, teacher, identity, share, batch_size=batch_size)
    name, _, file = encoder.partition("=")
    return Examiner(vocabulary, teacher, identity, share, Embedding(name, file or True), (encoder, WIDTH), batch_size)
