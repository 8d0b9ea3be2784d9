"""A job in numbered blocks as a Ray Data pipeline: actors take one block after the other; answers come back."""

from __future__ import annotations

import os
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from semiovs.errors import DataError, ResourcesError

#: Images of a block, where nothing else decides: what is done again when a machine is lost.
BLOCK = 32
#: Names of the columns: of a block's number, and of its answer.
_NUMBER, _ANSWER = "block", "answer"
#: Times that Ray gives a block to another actor after one was lost (a lost one counts once or twice): what ends its
#: process every time ends the job.
_RETRIES = 10
#: Tasks of Ray for each actor, of one block or of several: what is handed out at once, and taken back when a machine is
#: lost. (A task costs the process that hands them out some ten milliseconds, see docs/scale.md.)
TASKS = 64


class BlockJob(Protocol):
    """Work that every actor is given a copy of."""

    def begin(self) -> Any:
        """Make what an actor needs for all its blocks, such as a teacher; called once in its process."""

    def do(self, tools: Any, number: int) -> Any:
        """Do a block; the answer travels to the process that asked. tools: what `begin` made.

        A block that another actor had begun before its machine was lost is done again.
        """


@dataclass(frozen=True)
class _Answer:
    """What came of a block: the answer, or the error of its actor (Ray would wrap it, and try again)."""

    number: int
    value: Any = None
    error: Exception | None = None


class _BlockActor:
    """An actor of a job. Paths are those of the process that asked, relative ones too."""

    def __init__(self, job: Any, folder: str) -> None:
        import ray

        self._job: BlockJob = ray.get(job)
        self._tools: Any = None
        self._failure: Exception | None = None
        try:
            _enter(folder)
            self._tools = self._job.begin()
        except Exception as error:  # told by each block: an actor that cannot be made would be made for ever
            self._failure = _describe_origin(error)

    def __call__(self, numbers: Mapping[str, NDArray[np.int64]]) -> dict[str, NDArray[np.object_]]:
        """Do the blocks of a batch."""
        answers = np.empty(len(numbers[_NUMBER]), object)
        for place, number in enumerate(numbers[_NUMBER]):
            answers[place] = self._do(int(number))
        return {_ANSWER: answers}

    def _do(self, number: int) -> _Answer:
        if self._failure is not None:
            return _Answer(number, error=self._failure)
        try:
            return _Answer(number, self._job.do(self._tools, number))
        except Exception as error:
            return _Answer(number, error=_describe_origin(error))


def _enter(folder: str) -> None:
    """Make relative paths mean what they mean where the job was started.

    Raises:
        DataError: this machine has no such folder.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        raise DataError(
            f"{folder}: not on all machines of the Ray cluster ({error.strerror}); start the job in a "
            "folder that all of them have"
        ) from None


def _describe_origin(error: Exception) -> Exception:
    """The error with its traceback as a note, which would not travel."""
    error.add_note("in a worker of the Ray cluster:\n" + "".join(traceback.format_exception(error)))
    return error


def run_blocks(job: BlockJob, numbers: Sequence[int], *, actors: int, gpus: int = 0) -> Iterator[tuple[int, Any]]:
    """Yield (number, answer) of blocks in the order in which they are done.

    The pool grows from one actor to `actors` as long as blocks wait, no more blocks are handed out than actors can
    take, and the block of a lost machine goes to another. gpus: that an actor takes.

    Raises:
        Exception: of the first block that could not be done, as the job raised it.
        ResourcesError: one block ended the process of every actor that had it.
    """
    if not numbers:
        return
    import ray

    try:
        for row in _make_pipeline(job, numbers, actors, gpus).iter_rows():
            answer: _Answer = row[_ANSWER]
            if answer.error is not None:
                raise answer.error
            yield answer.number, answer.value
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise ResourcesError(
            f"the Ray cluster lost a worker again and again ({reason}); was memory short (fewer --workers), or does an "
            "image end its process? The same command with --engine local goes on in one process, and says so"
        ) from error


def _make_pipeline(job: BlockJob, numbers: Sequence[int], actors: int, gpus: int) -> Any:
    """The data set of the answers, not begun yet."""
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    blocks = ray.data.from_items(
        [{_NUMBER: number} for number in numbers], override_num_blocks=min(len(numbers), TASKS * actors)
    )
    apply: Any = blocks.map_batches
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`ray_remote_args`")  # no named argument has the number of retries
        return apply(
            _BlockActor,
            fn_constructor_args=(ray.put(job), str(Path.cwd())),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(actors, len(numbers))),
            num_cpus=1,
            num_gpus=gpus,
            **_limit_retries(apply),
        )


def _limit_retries(apply: Callable[..., Any]) -> dict[str, int]:
    """The argument of a Ray method that limits retries; none where it takes only those that it names: Ray has announced
    that from 2.64 on.
    """
    takes_more = any(given.kind is given.VAR_KEYWORD for given in signature(apply).parameters.values())
    return {"max_task_retries": _RETRIES} if takes_more else {}


def in_order(answers: Iterator[tuple[int, Any]]) -> Iterator[Any]:
    """The answers of the blocks 0, 1, … in this order; those that come early wait."""
    waiting: dict[int, Any] = {}
    following = 0
    for number, answer in answers:
        waiting[number] = answer
        while following in waiting:
            yield waiting.pop(following)
            following += 1
