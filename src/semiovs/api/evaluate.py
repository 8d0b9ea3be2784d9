"""`semiovs.evaluate`: the scores of a run or of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from semiovs.api.session import session
from semiovs.api.settings import Setting, Source
from semiovs.api.settings import split as split_settings
from semiovs.api.teacher import Place
from semiovs.engine.run_scores import RunScores, score_run


def evaluate(
    source: Place,
    *settings: Setting,
    config: Source | None = None,
    split: Literal["val", "labeled"] = "val",
    model: Literal["student", "ema"] | None = None,
    checkpoint: Place | None = None,
    progress: bool = True,
) -> RunScores:
    """Score the best and last checkpoint of a run, as ``semiovs evaluate``; a notebook shows the IoU of each class.

    source: run directory, checkpoint or safetensors file; settings: ``"eval.mode=sliding"`` or mappings, over the run's
    own configuration, or over `config`; split: images to score on; model: by default `eval.model`, else ema where there
    is one; checkpoint: ``"best"``, ``"last"`` or a file, by default both. With the run's own configuration, results are
    also written to its eval.json.

    Raises:
        UsageError, WeightsError, DataError: as `semiovs.engine.run_scores.score_run`; ConfigError: the settings.
    """
    given, overrides = split_settings(config, settings)
    with session(progress=progress) as call:
        return score_run(
            Path(source).expanduser(),
            given,
            overrides,
            split=split,
            which=model,
            checkpoint=None if checkpoint is None else str(checkpoint),
            show=call.show,
            say=call.say,
        )
