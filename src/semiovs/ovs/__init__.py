"""Open-vocabulary teachers, and labelling with them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from semiovs.errors import UsageError
from semiovs.ovs.base import OpenVocabModel
from semiovs.ovs.mapped import MappedModel
from semiovs.ovs.multi_view import MultiViewTeacher, ViewOptions
from semiovs.registry import TEACHERS, check_options, lookup

__all__ = ["OpenVocabModel", "build_ovs"]


def build_ovs(name: str, *, weights: str | Path | None = None, **options: Any) -> OpenVocabModel:
    """Build the teacher called `name` (``semiovs list teachers``).

    weights: file with its weights, for teachers that have any; options: as its signature declares them. All teachers
    that answer with maps (`MappedModel`) also take the options of `ViewOptions`.

    Raises:
        UsageError: no such teacher or option; a teacher's own errors for options that do not hold.
    """
    entry = lookup(TEACHERS, name, kind="teacher")
    check_options(entry, options, kind="teacher")
    options = {key: value for key, value in options.items() if value is not None}  # null: the default
    for key, value in options.items():
        option = entry.options[key]
        if not option.takes_rows and (expected := option.explain_mismatch(value)) is not None:
            raise UsageError(f"teacher '{name}': {key}: expected {expected}, got {value!r:.60}")
    if weights is not None:
        if "weights" not in entry.options:
            raise UsageError(f"teacher '{name}' has no weights; leave `weights` away")
        options["weights"] = weights
    views = ViewOptions(
        **{field.name: options.pop(field.name) for field in fields(ViewOptions) if field.name in options}
    )
    teacher: OpenVocabModel = entry.load()(**options)
    if views != ViewOptions() and isinstance(teacher, MappedModel):
        return MultiViewTeacher(teacher, views)
    return teacher
