"""``--dry-run``: a few real training steps without any files, to see shapes, memory and time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from semiovs.config.schema import Config
from semiovs.data import Batch
from semiovs.engine.distributed import World, join_processes
from semiovs.engine.experiment import Experiment, count_parameters
from semiovs.engine.loop import Learner, fit
from semiovs.engine.training import explain_out_of_memory
from semiovs.engine.writers import format_duration
from semiovs.peak_memory import find_peak_memory

#: Timed steps, after one warm-up step.
TIMED = 2


def dry_run(config: Config) -> dict[str, Any]:
    """Check the data, build everything, take three steps and estimate the total time; return plain data.

    Raises:
        As `Experiment.build` and `fit`.
    """
    with join_processes(config.train.device) as world:
        experiment = Experiment.build(config, world)
        learner, recipe = experiment.learner, experiment.recipe
        shapes: dict[str, list[int]] = {}
        ends: list[float] = []

        def watched(batches: Iterator[Batch]) -> Iterator[Batch]:
            for batch in batches:
                shapes.update(_list_shapes(batch))
                yield batch

        def clock(_: Learner) -> None:
            if world.device.type == "cuda":
                torch.cuda.synchronize(world.device)
            ends.append(time.perf_counter())

        rates = {str(g.get("name", i)): g["lr"] for o in learner.optimizers for i, g in enumerate(o.param_groups)}
        steps = min(1 + TIMED, recipe.total_steps)
        short = replace(recipe, schedule=replace(recipe.schedule, total_steps=steps))
        begin = time.perf_counter()
        with explain_out_of_memory(experiment), closing(experiment.batches()) as batches:
            fit(learner, watched(batches), short, world, [clock])
        seconds = (ends[-1] - ends[0]) / (steps - 1) if steps > 1 else ends[0] - begin
        return {
            "summary": experiment.summary(),
            "parameters": count_parameters(learner.method.student),
            "trained_parameters": count_parameters(learner.method, trained=True),
            "steps": recipe.total_steps,
            "epochs": recipe.total_epochs,
            "steps_per_epoch": recipe.steps_per_epoch,
            "eval_every": experiment.eval_every,
            "images_per_step": experiment.images_per_step,
            "learning_rates": rates,
            "precision": recipe.precision.name,
            "device": str(world.device),
            "processes": world.size,
            "batch": shapes,
            "memory_gib": _measure_memory(world),
            "seconds_per_step": seconds,
            "seconds_in_all": seconds * recipe.total_steps,
        }


def format_dry_run(found: dict[str, Any]) -> str:
    """Format the result of `dry_run` as text."""
    lines = [found["summary"], "batch:"]
    lines += [f"  {name}: {' x '.join(map(str, shape))}" for name, shape in found["batch"].items()]
    memory = f"{found['memory_gib']:.2f} GiB" if found["memory_gib"] is not None else "unknown"
    lines += [
        f"steps: {found['steps']} ({found['steps_per_epoch']} an epoch), evaluated every {found['eval_every']}",
        f"memory: {memory} ({'GPU, peak' if found['device'].startswith('cuda') else 'this process, peak'})",
        f"time: {found['seconds_per_step']:.3f} s a step, "
        f"about {format_duration(found['seconds_in_all'])} without evaluations",
    ]
    return "\n".join(lines)


def _list_shapes(part: Any, name: str = "") -> Iterator[tuple[str, list[int]]]:
    if isinstance(part, Tensor):
        yield name, list(part.shape)
    elif isinstance(part, tuple):
        for index, item in enumerate(part):
            yield from _list_shapes(item, f"{name}[{index}]")
    elif is_dataclass(part):
        for field in fields(part):
            yield from _list_shapes(getattr(part, field.name), f"{name}.{field.name}".lstrip("."))


def _measure_memory(world: World) -> float | None:
    if world.device.type == "cuda":
        return torch.cuda.max_memory_allocated(world.device) / 2**30
    peak = find_peak_memory()
    return None if peak is None else peak / 2**30
