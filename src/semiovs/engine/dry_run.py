"""``--dry-run``: a few real training steps and scored images without any files, to see shapes, memory and time."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from semiovs.config.schema import Config
from semiovs.data import Batch
from semiovs.duration import format_duration
from semiovs.engine.distributed import World, join_processes
from semiovs.engine.experiment import Experiment, count_parameters
from semiovs.engine.loop import Learner, fit
from semiovs.engine.rehearsal import count_evaluations, time_evaluation, time_loading
from semiovs.engine.training import explain_out_of_memory, list_scored, make_score
from semiovs.peak_memory import find_peak_memory

log = logging.getLogger(__name__)

#: Timed steps, after one warm-up step: at least so many, and more of quick ones, until so many seconds are over.
TIMED, MOST, ENOUGH = 2, 20, 3.0
#: Seconds after which a dry run answers, with what it has seen until then; at least `LEAST` of them are for steps.
LIMIT, LEAST = 14.0, 4.0


#: Numbers that an optimiser keeps beside each weight.
_MOMENTS = {"sgd": 1, "adamw": 2}


class _OutOfTime(BaseException):
    """The time is over; no error of a step, and not to be taken for one."""


class _StepsAreTimed(BaseException):
    """Steps enough, or no time for another one."""


def dry_run(config: Config, *, check: bool = True, limit: float | None = None) -> dict[str, Any]:
    """Check the data (unless `check` is off), build everything, take some steps, score an image, and estimate the total
    time; return plain data.

    In one process all this ends after `limit` seconds (by default `LIMIT`), in the middle of a step or an image if need
    be.

    Raises:
        As `Experiment.build` and `fit`.
    """
    start = time.perf_counter()
    with join_processes(config.train.device) as world:
        experiment = Experiment.build(config, world, check=check)
        learner, recipe = experiment.learner, experiment.recipe
        for note in experiment.notes if world.is_main and check else ():
            log.warning("%s", note.text)
        shapes: dict[str, list[int]] = {}
        ends: list[float] = []

        def clock(_: Learner) -> None:
            world.synchronize()
            ends.append(time.perf_counter())
            late = 2 * ends[-1] - [begin, *ends][-2] > until  # another step like the last one would end too late
            enough = len(ends) > TIMED and ends[-1] - ends[0] > ENOUGH
            if world.size == 1 and len(ends) < steps and (late or enough):
                raise _StepsAreTimed

        rates = {str(g.get("name", i)): g["lr"] for o in learner.optimizers for i, g in enumerate(o.param_groups)}
        steps = min(1 + (MOST if world.size == 1 else TIMED), recipe.total_steps)
        short = replace(recipe, schedule=replace(recipe.schedule, total_steps=steps))
        begin = time.perf_counter()
        until = max(start + (LIMIT if limit is None else limit), begin + LEAST)
        ending = _stop_at(until if world.size == 1 else None)
        scores = _Scores()
        with ending, explain_out_of_memory(experiment):
            with suppress(_StepsAreTimed), closing(experiment.batches()) as batches:
                fit(learner, _watch(batches, shapes), short, world, [clock])
            seen = time.perf_counter()
            scores.measure(experiment)
        seconds = max(_estimate_step([begin, *ends], seen if ends else time.perf_counter()), scores.loading)
        timed = {"timed_steps": max(0, len(ends) - 1), "finished_steps": len(ends), "seconds_per_step": seconds}
        return _describe(experiment) | {
            "learning_rates": rates,
            "batch": shapes,
            "memory_gib": _measure_memory(world),
            "disk_gib": _estimate_disk(experiment) / 2**30,
            **timed,
            **scores.as_json(),
            "seconds_in_all": seconds * recipe.total_steps + scores.count * (scores.seconds or 0.0),
        }


@dataclass
class _Scores:
    """Evaluations of the training: how many, and seconds of one (None: not measured); loading: seconds that a step
    waits at least for loader processes that have nothing ahead any more.
    """

    count: int = 0
    seconds: float | None = None
    loading: float = 0.0

    def measure(self, experiment: Experiment) -> None:
        """Score one image of each kind twice, the second time counts."""
        experiment.learner.step = 0
        if workers := experiment.workers:
            self.loading = experiment.recipe.accumulate * time_loading(experiment) / workers
        if scored := list_scored(experiment):
            self.count = count_evaluations(experiment)
            self.seconds = time_evaluation(experiment, scored, make_score(experiment))

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"evaluations": self.count, "seconds_per_evaluation": self.seconds}


def _watch(batches: Iterator[Batch], shapes: dict[str, list[int]]) -> Iterator[Batch]:
    """The batches; shapes: takes those of their tensors, by name."""
    for batch in batches:
        shapes.update(_list_shapes(batch))
        yield batch


def _describe(experiment: Experiment) -> dict[str, Any]:
    recipe, world = experiment.recipe, experiment.world
    return {
        "summary": experiment.summary(),
        "parameters": count_parameters(experiment.learner.method.student),
        "trained_parameters": count_parameters(experiment.learner.method, trained=True),
        "steps": recipe.total_steps,
        "epochs": recipe.total_epochs,
        "steps_per_epoch": recipe.steps_per_epoch,
        "eval_every": experiment.eval_every,
        "images_per_step": experiment.images_per_step,
        "precision": recipe.precision.name,
        "device": str(world.device),
        "processes": world.size,
    }


def format_dry_run(found: dict[str, Any]) -> str:
    """Format the result of `dry_run` as text."""
    lines = [found["summary"], "batch:"]
    lines += [f"  {name}: {' x '.join(map(str, shape))}" for name, shape in found["batch"].items()]
    memory = f"{found['memory_gib']:.2f} GiB" if found["memory_gib"] is not None else "unknown"
    lines += [
        f"steps: {found['steps']} ({found['steps_per_epoch']} an epoch), evaluated every {found['eval_every']}",
        f"memory: {memory} ({'GPU, peak' if found['device'].startswith('cuda') else 'this process, peak'})",
        f"disk: {found['disk_gib']:.2f} GiB of checkpoints",
        f"time: {_format_time(found)}",
    ]
    return "\n".join(lines)


def _format_time(found: dict[str, Any]) -> str:
    """Time a step and in all; after less than two steps these are bounds, or of a first step, which is slower."""
    step, whole = f"{found['seconds_per_step']:.3f} s a step", format_duration(found["seconds_in_all"])
    scores = " without evaluations"
    if not found["evaluations"]:
        scores = "" if found["finished_steps"] else scores
    elif found["seconds_per_evaluation"] is not None:
        scores = f" with {found['evaluations']} evaluations of {format_duration(found['seconds_per_evaluation'])}"
    if found["finished_steps"] == 0:
        return f"at least {step} (not one was finished), at least {whole}{scores}"
    return f"{step}{'' if found['timed_steps'] else ' (the first one, which is slower)'}, about {whole}{scores}"


def _estimate_step(times: Sequence[float], now: float) -> float:
    """Seconds of a step from the times of begin and ends; the first step counts if there is no other."""
    if len(times) == 1:
        return now - times[0]
    later = times[1:] if len(times) > 2 else times
    return (later[-1] - later[0]) / (len(later) - 1)


@contextmanager
def _stop_at(until: float | None) -> Iterator[None]:
    """End the body at a time of `time.perf_counter`, by an alarm where the system has one."""

    def end(*_: object) -> None:
        raise _OutOfTime

    if until is None or not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        with suppress(_OutOfTime):
            yield
        return
    before = signal.signal(signal.SIGALRM, end)
    try:
        with suppress(_OutOfTime):
            signal.setitimer(signal.ITIMER_REAL, max(until - time.perf_counter(), 0.01))
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _list_shapes(part: Any, name: str = "") -> Iterator[tuple[str, list[int]]]:
    if isinstance(part, Tensor):
        yield name, list(part.shape)
    elif isinstance(part, tuple):
        for index, item in enumerate(part):
            yield from _list_shapes(item, f"{name}[{index}]")
    elif is_dataclass(part):
        for field in fields(part):
            yield from _list_shapes(getattr(part, field.name), f"{name}.{field.name}".lstrip("."))


def _estimate_disk(experiment: Experiment) -> int:
    """Bytes of the checkpoints that are kept, with the best one and one that is being written."""
    method, train = experiment.learner.method, experiment.config.train
    state = sum(value.numel() * value.element_size() for value in method.state_dict().values())
    trained = sum(p.numel() * p.element_size() for p in method.parameters() if p.requires_grad)
    steps = experiment.recipe.total_steps
    forever = steps // train.keep_every if train.keep_every else 0
    kept = min(train.keep_last + (train.keep_best or 0), -(-steps // train.save_every)) + forever
    each: int = state + _MOMENTS[experiment.config.optim.name] * trained
    bytes_kept = kept * each if train.keep_gib is None else min(kept * each, max(each, int(train.keep_gib * 2**30)))
    return bytes_kept + 2 * each


def _measure_memory(world: World) -> float | None:
    if world.device.type == "cuda":
        return torch.cuda.max_memory_allocated(world.device) / 2**30
    peak = find_peak_memory()
    return None if peak is None else peak / 2**30
