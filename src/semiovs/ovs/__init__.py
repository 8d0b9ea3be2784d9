"""Open-vocabulary teachers and labelling."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from semiovs.errors import UsageError
from semiovs.ovs.base import OpenVocabModel
from semiovs.ovs.prompted import PromptedModel
from semiovs.ovs.views import Viewed, Views
from semiovs.registry import TEACHERS, check_options, lookup

__all__ = ["OpenVocabModel", "build_ovs"]


def build_ovs(name: str, *, weights: str | Path | None = None, **options: Any) -> OpenVocabModel:
    """Build the teacher called `name` (``semiovs list teachers``).

    weights: file of its weights, for teachers that have any; options: as its signature declares them. Those of `Views` are the same
    for all teachers that are asked with words.

    Raises:
        UsageError: no such teacher or option; a teacher's own errors for options that do not hold.
    """
    entry = lookup(TEACHERS, name, kind="teacher")
    check_options(entry, options, kind="teacher")
    if weights is not None:
        if "weights" not in entry.options:
            raise UsageError(f"teacher '{name}' has no weights; leave `weights` away")
        options["weights"] = weights
    views = Views(**{field.name: options.pop(field.name) for field in fields(Views) if field.name in options})
    teacher: OpenVocabModel = entry.load()(**options)
    return Viewed(teacher, views) if views != Views() and isinstance(teacher, PromptedModel) else teacher
