"""The folder of a shared model: weights with their card, recipe, classes, and a page for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from semiovs.config.paths import PATHS
from semiovs.config.schema import Config
from semiovs.config.sources import to_yaml_data
from semiovs.errors import UsageError
from semiovs.evaluation import ImageCounts
from semiovs.files import new_folder, write_text
from semiovs.models.weights import MODEL_FILE, load_model, save_model
from semiovs.run_page.origins import list_weights
from semiovs.run_page.run_record import RunRecord
from semiovs.run_page.scores import ImageScores
from semiovs.sharing.model_page import SharedModel
from semiovs.vocab.vocabulary import Vocabulary
from semiovs.vocab.yaml_writer import to_yaml

RECIPE, CLASSES, PAGE = "recipe.yaml", "vocabulary.yaml", "README.md"


def write_model_folder(
    run: Path, out: Path, *, name: str, licence: str | None = None, best: bool = False
) -> SharedModel:
    """Write what others need of a finished run into a new folder: `MODEL_FILE`, `RECIPE`, `CLASSES`, `PAGE`.

    name: by which the page says it is loaded, such as ``user/model``; licence: of the model, as its owner states it;
    best: the checkpoint with the highest score on the evaluation images instead of the last one. No path of this
    machine gets into it.

    Raises:
        UsageError: no run, not finished, or `out` exists; WeightsError: its weights cannot be read.
    """
    record = RunRecord.read(run)
    if not record.is_finished:
        raise UsageError(f"{run}: this run is not finished; semiovs resume {run} trains it to its end")
    weights = run / "checkpoints" / "best.pt" if best else record.run.model
    if not weights.is_file():
        raise UsageError(f"{run}: no {weights.name} is kept; without --best its last weights are taken")
    segmenter, card = load_model(weights)
    config = record.loaded.config
    told = SharedModel(
        name=name,
        vocabulary=card.vocabulary,
        architecture=_describe_model(config),
        method=config.method.name,
        images={stream: number for stream, number in record.images.items() if number},
        steps=record.step,
        seed=config.train.seed,
        scores=_read_scores(record, card.vocabulary, best=best),
        data=_name_data(config),
        weights=[(_strip_folders(what, config), licence) for what, licence in list_weights(config)],
        licence=licence,
        is_best=best,
        version=_read_version(record),
    )
    with new_folder(out, UsageError) as folder:
        save_model(folder / MODEL_FILE, segmenter, card)
        write_text(folder / RECIPE, format_recipe(config))
        write_text(folder / CLASSES, to_yaml(card.vocabulary))
        write_text(folder / PAGE, told.write())
    return told


def format_recipe(config: Config) -> str:
    """The settings as YAML that `load_config` reads, without paths and names of this machine."""
    data: dict[str, Any] = to_yaml_data(config.model_dump())
    for key in PATHS:
        _drop(data, key.split("."))
    data.pop("run", None)
    return "# Settings of the training, without the paths of its data: data.root, data.labeled, …\n" + yaml.safe_dump(
        {section: values for section, values in data.items() if values}, sort_keys=False, allow_unicode=True
    )


def _drop(data: Any, keys: list[str]) -> None:
    """Remove a path; a value that is a name or a switch stays."""
    inner = data.get(keys[0]) if isinstance(data, dict) else None
    if len(keys) > 1:
        _drop(inner, keys[1:])
    elif isinstance(inner, str) and (keys[0] != "classes" or Path(inner).suffix):
        del data[keys[0]]


def _read_scores(record: RunRecord, vocabulary: Vocabulary, *, best: bool) -> ImageScores | None:
    path = record.run.counts(record.model or "student", "best" if best else "last")
    return ImageScores(ImageCounts.read(path), vocabulary.names) if record.model and path.is_file() else None


def _describe_model(config: Config) -> str:
    encoder = config.model.options.get("encoder")
    return config.model.name + (f" on the encoder {encoder}" if isinstance(encoder, str) else "")


def _name_data(config: Config) -> str:
    own = config.run.name or "its own data"
    return own if config.data.name == "folder" else config.data.name


def _strip_folders(text: str, config: Config) -> str:
    """The text with the name alone of a file on this machine."""
    source = config.model.init_from
    return text.replace(source, Path(source).name) if source and not source.startswith("hf:") else text


def _read_version(record: RunRecord) -> str:
    """The version of semiovs that trained it; empty if that is not known."""
    packages = record.environment.get("packages")
    return str(packages.get("semiovs") or "") if isinstance(packages, dict) else ""
