"""Options of ``semiovs select``."""

from __future__ import annotations

from typing import Annotated

import typer

Arguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="CONFIG [KEY=VALUE]...", help="Its classes are wanted; its images must not be chosen."),
]
Pool = Annotated[
    list[str] | None, typer.Option("--from", metavar="FOLDER|LIST|TARS", help="Where to choose from; may be repeated.")
]
Out = Annotated[str | None, typer.Option(metavar="DIR", help="Folder of manifest.jsonl and the report.")]
Budget = Annotated[int | None, typer.Option(min=1, help="Images to choose; default: all that are good.")]
Teacher = Annotated[str | None, typer.Option(help="Says which classes an image shows (semiovs list teachers).")]
Scores = Annotated[
    str | None,
    typer.Option(metavar="STORE|FOLDER|none", help="Labels that are there already, instead of a teacher."),
]
Map = Annotated[
    str | None, typer.Option("--map", help="With --scores FOLDER: meaning of values, as in `semiovs label`.")
]
Targets = Annotated[str | None, typer.Option(help="Classes a,b,c; default: all but the background.")]
Against = Annotated[
    list[str] | None,
    typer.Option(metavar="FOLDER|LIST", help="More images that must not be chosen (a test set); may be repeated."),
]
License = Annotated[
    list[str] | None, typer.Option("--license", help="Allowed license, as lists name it; may be repeated.")
]
Rule = Annotated[str, typer.Option(metavar="balanced|paper", help="paper: every image with a target class.")]
Recall = Annotated[float, typer.Option(help="Share of a class's labelled images that its threshold keeps.")]
Share = Annotated[float, typer.Option(help="Share of the pixels that a class must have.")]
Near = Annotated[
    float | None, typer.Option(help="Cosine from which on two pictures are copies; default 0.95, with --encoder 0.9.")
]
Encoder = Annotated[
    str | None,
    typer.Option(metavar="NAME[=FILE]", help="Compare by a trained encoder; default: by a built-in description."),
]
Seed = Annotated[int, typer.Option(min=0, help="Of the choice among equals.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images that the teacher sees at once.")]
Shard = Annotated[
    str | None,
    typer.Option(metavar="I/N", help="Only scan the I-th of N parts; without it, choose from all of them."),
]
Threads = Annotated[int | None, typer.Option(min=1, help="So many read images; default: one a core.")]
