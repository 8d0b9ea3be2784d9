"""`semiovs.label`: images labelled by a teacher, in a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from semiovs.api.session import Session, session
from semiovs.api.settings import Setting, Source, load
from semiovs.api.teacher import Place, choose_teacher, make_agree, to_path
from semiovs.calibration.labelling import label_with
from semiovs.config.option_texts import parse_on_error
from semiovs.engine.labelling import LabellingReport, make_task
from semiovs.engine.teacher_choice import AUTO


def label(
    images_or_config: Source | None = None,
    *settings: Setting,
    classes: Place | Sequence[str] | None = None,
    images: Place | None = None,
    out: Place | None = None,
    teacher: str = AUTO,
    weights: Place | None = None,
    from_: Place | None = None,
    map: Mapping[Any, Any] | None = None,  # noqa: A002 - the option's name
    options: Mapping[str, Any] | None = None,
    calibration: Place | None = None,
    batch_size: int | None = None,
    shard: tuple[int, int] = (0, 1),
    threads: int | None = None,
    on_error: Literal["fail", "skip"] = "fail",
    download: bool = False,
    progress: bool = True,
) -> LabellingReport:
    """Label images with a teacher into a store, as ``semiovs label``; a repeated call labels the images that are left.

    images_or_config: configuration (as `semiovs.train`), whose `ood.images` are labelled into `ood.labels`, unless
    `images` and `out` say otherwise; with `classes` (names, a file or a shipped vocabulary) the images themselves: a
    folder, list or tars, labelled into `out`. teacher: name, or auto: your masks, else one that is at hand; weights,
    ``from_`` (folder of existing masks or scores), map (value -> class) and options: of the teacher; download: fetch
    weights where none is at hand; calibration: file of ``semiovs calibrate``; batch_size: None: 1, on a GPU up to 8;
    shard: (i, n), every n-th image from the i-th on; on_error: leave out images that cannot be labelled, or stop.

    Raises:
        UsageError, ConfigError, WeightsError, DataError: the configuration, the teacher or the images;
        PreemptedError, InterruptedRunError: a signal, after what was begun is in the store.
    """
    config = images_or_config
    if classes is not None and images is None and not isinstance(config, Mapping):
        config, images = None, config
    loaded = load(config, settings)
    asked = choose_teacher(teacher, weights, from_, map, options)
    alone = config is None and not settings
    with session(progress=progress) as call:
        task = make_task(loaded.config, images=images, classes=classes, out=to_path(out), alone=alone, say=call.say)
        work: dict[str, Any] = {
            "batch_size": batch_size,
            "on_error": parse_on_error(on_error),
            "threads": threads,
            "shard": shard,
        }
        work |= {"calibration": to_path(calibration), "agree": make_agree(download=download)}
        done = label_with(asked, task, loaded.config, show=call.show, say=call.say, host=call.host, **work)
        return _finish(done, task.out, call)


def _finish(done: LabellingReport | None, out: Path, call: Session) -> LabellingReport:
    """The report, on every process of a launch."""
    if done is None:
        return LabellingReport(out, {"labeled": 0, "already": 0, "failed": [], "images_per_second": 0.0}, None)
    done.require_labels()
    call.say(str(done))
    return done
