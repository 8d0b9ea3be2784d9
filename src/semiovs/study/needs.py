"""What a study needs and does not find: images, lists, weights; and where each file belongs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from semiovs.config.schema import Config
from semiovs.data.label_source import LabelSource, MaskFolder, MatchedLabels
from semiovs.datasets.split_cache import SplitCache
from semiovs.datasets.splits import PublishedList
from semiovs.datasets.voc import Voc
from semiovs.engine.labelling import LabellingTask, make_task
from semiovs.engine.teacher_choice import TeacherChoice
from semiovs.env import weights_dir
from semiovs.errors import DataError, MissingExtraError, WeightsError
from semiovs.images.masks import MaskReader
from semiovs.models.encoders import describe_encoder, is_own_encoder
from semiovs.models.hub import is_online
from semiovs.models.weight_catalog import Weights, catalogue, find_by_clip, find_file, locate
from semiovs.models.weight_catalog import lookup as lookup_weights
from semiovs.store import PseudoLabelStore
from semiovs.store.meta import is_store
from semiovs.study.learners import BASE, OOD
from semiovs.study.plan import StudyCell, StudyPlan

#: The OOD images of the paper are chosen from these.
_COCO = "COCO train2017, 118,287 images"
_COCO_SOURCE = "train2017.zip, cocodataset.org"


@dataclass(frozen=True)
class Need:
    """Something that is missing.

    what: words for it; place: the file or folder where it is looked for; source: where it comes from; command: fetches
    it, None: a person does; automatic: the first training that needs it fetches it too.
    """

    kind: Literal["data", "weights", "extra"]
    what: str
    place: str
    source: str
    command: str | None = None
    automatic: bool = False

    def __str__(self) -> str:
        fetched = f"; next: {self.command}" if self.command else ""
        return f"{self.what}: belongs to {self.place}; from {self.source}{fetched}"

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def find_needs(plan: StudyPlan, teacher: TeacherChoice) -> list[Need]:
    """All that is missing for all trainings and the labels of the OOD images; nothing is read but lists and names."""
    needs = [*_find_voc(plan), *_find_ood(plan, teacher)]
    for learner in plan.learners:
        needs += _find_encoder(plan.load(StudyCell(learner.name, plan.splits[0], BASE, 0)).config)
    return list(dict.fromkeys(needs))


def require_nothing(needs: Sequence[Need]) -> None:
    """Raise one error for all that is missing and is not fetched by the trainings themselves.

    Raises:
        DataError: images or lists among them; else MissingExtraError, or WeightsError.
    """
    online = any(need.automatic for need in needs) and is_online()
    lacking = [need for need in needs if not (need.automatic and online)]
    if not lacking:
        return
    kinds = {need.kind for need in lacking}
    found = DataError.of(list(map(str, lacking)), "what is missing (semiovs study voc --dry-run shows the plan)")
    if "data" in kinds:
        raise found
    raise (MissingExtraError if "extra" in kinds else WeightsError)(str(found))


def make_labelling_task(plan: StudyPlan) -> LabellingTask:
    """The OOD images, and the store of their labels that all trainings share.

    Raises:
        DataError: the images are not there.
    """
    config = plan.load_labelling().config
    if not Path(config.data.root).is_dir():  # the images may be elsewhere
        config = config.model_copy(update={"data": config.data.model_copy(update={"root": str(Path.cwd())})})
    return make_task(config, say=lambda _: None)


def is_labelled(task: LabellingTask) -> bool:
    """Whether every OOD image has its label, in a store or in a folder of masks.

    Raises:
        DataError: the store is damaged, or of other classes.
    """
    source: LabelSource
    if is_store(task.out):
        source = PseudoLabelStore.open(task.out, task.vocabulary)
    else:
        try:
            source = MaskFolder(task.out, MaskReader(task.vocabulary.names, ignore=task.vocabulary.ignore))
        except DataError:  # no folder, or no masks
            return False
    labelled = MatchedLabels(source, task.images)
    return all(record.id in labelled for record in task.images)


def _find_voc(plan: StudyPlan) -> Iterator[Need]:
    configs = [plan.load(StudyCell(plan.learners[0].name, split, BASE, 0)).config for split in plan.splits]
    lists = _find_lists(configs)
    if lists:
        cache = SplitCache()
        names = ", ".join(one.name for one in lists)
        what, place = f"{len(lists)} published lists ({names})", str(cache.path(cache.known.datasets["pascal"].family))
        yield Need("data", what, place, "the papers' repositories", "semiovs splits fetch pascal")
    data, root = configs[0].data, Path(configs[0].data.root)
    if not root.is_dir():
        with tempfile.TemporaryDirectory() as nothing:
            yield from _list_parts(Voc(data.model_copy(update={"root": nothing})), root)
    elif lists:
        yield from _list_parts(Voc(data), Voc(data).home)
    else:
        problems = {f.line for config in configs for f in Voc(config.data).examine().findings if f.severity == "error"}
        if problems:
            parts = list(_list_parts(Voc(data), Voc(data).home))
            yield from parts or (Need("data", text, str(root), "Pascal VOC 2012") for text in sorted(problems))


def _find_lists(configs: Sequence[Config]) -> list[PublishedList]:
    """Published lists that are neither files of the data nor in the user's cache."""
    cache, found = SplitCache(), dict[str, PublishedList]()
    for data in (config.data for config in configs):
        for given in filter(None, (data.labeled, data.unlabeled, data.val)):
            one = cache.known.lists.get(given.removeprefix("splits/"))
            if one is not None and not (Path(data.root) / given).is_file() and not cache.check(one).ok:
                found[one.name] = one
    return list(found.values())


def _list_parts(dataset: Voc, home: Path) -> Iterator[Need]:
    for part in dataset.parts():
        if part.needed and part.lacking:
            what = f"Pascal VOC 2012, {part.what}: {part.found:,} of {part.expected:,}"
            yield Need("data", what, str(home / part.place), part.origin)


def _find_ood(plan: StudyPlan, teacher: TeacherChoice) -> Iterator[Need]:
    if OOD not in plan.arms:
        return
    labelled = False
    try:
        task = make_labelling_task(plan)
    except DataError as problem:
        config = plan.load_labelling().config
        place = Path(config.data.root) / (config.ood.images if config.ood else "")
        source = str(problem).splitlines()[0] if place.exists() else _COCO_SOURCE
        yield Need("data", _COCO, str(place), source)
    else:
        labelled = is_labelled(task)
    if not labelled and teacher.name == "sed":
        yield from _find_sed(teacher)


def _find_sed(teacher: TeacherChoice) -> Iterator[Need]:
    row = lookup_weights("sed-large")
    given = str(teacher.weights or row.file)
    if find_file(given) is None and not Path(given).is_dir():
        yield Need("weights", row.what, str(weights_dir() / given), f"the file linked on {row.page}")
    yield from _find_clip_library()


def _find_clip_library() -> Iterator[Need]:
    if find_spec("open_clip") is None:
        yield Need("extra", "open_clip", "this environment", "its package index", "pip install 'semiovs[clip]'")


def _find_encoder(config: Config) -> Iterator[Need]:
    """The weights that a learner starts from, and the package that reads them."""
    model, options = config.model, config.model.options
    asks_clip = model.name == "semivl" and options.get("text") == "clip"
    if asks_clip:
        yield from _find_clip_library()
    encoder = str(options.get("encoder"))
    if isinstance(model.pretrained, str):
        if find_file(model.pretrained) is None:
            row = next((row for row in catalogue().values() if row.file == model.pretrained), None)
            yield _need_weights(row, row.what if row else "weights of model.pretrained", model.pretrained)
    elif model.pretrained and find_file(str(weights_dir() / encoder)) is None:
        row = find_by_clip(encoder, "openai") if model.name == "semivl" else _describe(encoder)
        if row is not None and locate(row) is None:
            yield _need_weights(row, row.what, row.file or encoder, automatic=row.hub is not None)


def _describe(encoder: str) -> Weights | None:
    return None if is_own_encoder(encoder) else describe_encoder(encoder)


def _need_weights(row: Weights | None, what: str, file: str, *, automatic: bool = False) -> Need:
    known = row is not None and row.name in catalogue()
    command = f"semiovs weights pull {row.name}" if row is not None and known else None
    source = row.source if row is not None else "your own copy"
    return Need("weights", what, str(weights_dir() / file), source, command, automatic)
