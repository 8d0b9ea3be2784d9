"""Options ``--engine`` and ``--workers`` of verbs that a Ray cluster can run."""

from __future__ import annotations

from typing import Annotated

import typer

from semiovs.errors import UsageError

Engine = Annotated[str, typer.Option(metavar="local|ray", help="Who runs it: this process, or a Ray cluster.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="With --engine ray: largest number of processes; default: all GPUs or cores.")
]


def wants_ray(engine: str, workers: int | None, *, instead: str) -> bool:
    """Whether ``--engine ray`` was asked for; instead: what to use without it, for the message about ``--workers``.

    Raises:
        UsageError: an unknown engine, or workers of one that has none; MissingExtraError: Ray is not installed, before
        any work.
    """
    if engine not in ("local", "ray"):
        raise UsageError(f"--engine {engine}: local or ray")
    if engine == "local" and workers is not None:
        raise UsageError(f"--workers: for --engine ray; without it {instead}")
    if engine == "ray":
        from semiovs.clusters.ray_cluster import require_ray

        require_ray()
    return engine == "ray"
