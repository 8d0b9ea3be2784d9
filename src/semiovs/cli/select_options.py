"""Options of ``semiovs select``."""

from __future__ import annotations

from typing import Annotated

import typer

Arguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="CONFIG [KEY=VALUE]...", help="Its classes are looked for; its images are never chosen."),
]
Pool = Annotated[
    list[str] | None, typer.Option("--from", metavar="FOLDER|LIST|TARS", help="Images to choose from; may be repeated.")
]
Out = Annotated[str | None, typer.Option(metavar="DIR", help="Folder to write manifest.jsonl and the report to.")]
Budget = Annotated[int | None, typer.Option(min=1, help="Number of images to choose; default: all that fit.")]
Teacher = Annotated[
    str | None, typer.Option(help="Teacher that finds the classes in the images (semiovs list teachers).")
]
Scores = Annotated[
    str | None,
    typer.Option(metavar="STORE|FOLDER|none", help="Existing labels, instead of a teacher."),
]
Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map", help="With --scores FOLDER: classes of the mask values, as in `semiovs label`; may be repeated."
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(help="Classes to look for: a,b,c; default: all but the background; may be repeated."),
]
Against = Annotated[
    list[str] | None,
    typer.Option(metavar="FOLDER|LIST", help="More images that must not be chosen (a test set); may be repeated."),
]
License = Annotated[
    list[str] | None, typer.Option("--license", help="Allowed license, as lists name it; may be repeated.")
]
Rule = Annotated[
    str,
    typer.Option(
        metavar="balanced|paper", help="balanced: balance the classes; paper: every image with a target class."
    ),
]
Recall = Annotated[float, typer.Option(help="Share of the labelled images of a class that its threshold must keep.")]
Share = Annotated[float, typer.Option(help="Share of the pixels from which on a class counts as present.")]
Near = Annotated[
    float | None,
    typer.Option(help="Cosine similarity from which on two pictures are copies; default 0.95, with --encoder 0.9."),
]
Encoder = Annotated[
    str | None,
    typer.Option(metavar="NAME[=FILE]", help="Compare images by a trained encoder; default: a built-in descriptor."),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the choice among equal images.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images per batch of the teacher.")]
Shard = Annotated[
    str | None,
    typer.Option(metavar="I/N", help="Only scan the I-th of N parts; without it, choose from all of them."),
]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads that read images; default: one per core.")]
