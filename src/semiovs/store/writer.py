"""Write labels in the background: encoded by several threads, committed in order by one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from semiovs.errors import DataError
from semiovs.store.pseudo_labels import PreparedLabel, PseudoLabelStore, StoreWriteError

#: Bytes of labels and confidences that may wait; a single batch may be larger.
WAITING = 128 * 2**20
#: Largest number of images of several small batches that are committed together.
_GROUP = 128


@dataclass(frozen=True)
class LabelAnswer:
    """A label (H, W) uint8 and its confidence (H, W), uint8 times 255 or float in [0, 1], for one image.

    image_hash: checksum of the image file, if known.
    """

    id: str
    label: NDArray[np.uint8]
    confidence: NDArray[Any] | None = None
    image_hash: str | None = None

    @property
    def nbytes(self) -> int:
        """Memory size in bytes."""
        return self.label.nbytes + (0 if self.confidence is None else self.confidence.nbytes)


@dataclass(frozen=True)
class LaterAnswer:
    """An answer that is made by the thread that encodes it. nbytes: what it holds until then."""

    id: str
    nbytes: int
    make: Callable[[], LabelAnswer]


@dataclass
class WriteResults:
    """Results since the last call. added: ids; others: ids that another process had added; refused: (id, error)."""

    added: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    refused: list[tuple[str, DataError]] = field(default_factory=list)


@dataclass
class _WriteBatch:
    futures: list[tuple[str, Future[PreparedLabel]]]
    nbytes: int


class StoreWriter:
    """Writes batches of answers to a store; leaving the context waits until all of them are stored.

    A batch is stored as a whole, except for labels that the store refuses. Memory is bounded: `put` waits while more
    than `waiting` bytes are in progress. If the block raises, batches put before are still written.
    """

    def __init__(self, store: PseudoLabelStore, *, threads: int, waiting: int = WAITING) -> None:
        self._store, self._limit = store, waiting
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="write")
        self._queue: queue.SimpleQueue[_WriteBatch | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._held = 0
        self._news, self._failure = WriteResults(), None
        self._mover = threading.Thread(target=self._run_mover, name="index", daemon=True)

    _failure: BaseException | None

    def __enter__(self) -> Self:
        self._mover.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._mover.join()
        self._pool.shutdown()
        if error is None:
            self._raise_failure()

    def put(self, answers: Sequence[LabelAnswer | LaterAnswer]) -> None:
        """Queue a batch.

        Raises:
            StoreWriteError: an earlier batch could not be written.
        """
        size = sum(answer.nbytes for answer in answers)
        with self._changed:
            while self._held and self._held + size > self._limit and self._failure is None:
                self._changed.wait()
            self._raise_failure()
            self._held += size
        futures = [(answer.id, self._pool.submit(self._prepare, answer)) for answer in answers]
        self._queue.put(_WriteBatch(futures, size))

    def _prepare(self, answer: LabelAnswer | LaterAnswer) -> PreparedLabel:
        a = answer.make() if isinstance(answer, LaterAnswer) else answer
        return self._store.prepare(a.id, a.label, a.confidence, image_hash=a.image_hash)

    def take_results(self) -> WriteResults:
        """Results since the last call.

        Raises:
            StoreWriteError: a batch could not be written.
        """
        with self._changed:
            self._raise_failure()
            found, self._news = self._news, WriteResults()
        return found

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _run_mover(self) -> None:
        """Body of the committing thread; small batches that are ready are committed together."""
        last = False
        while not last and (batch := self._queue.get()) is not None:
            group = [batch]
            while not last and sum(len(b.futures) for b in group) < _GROUP:
                try:
                    following = self._queue.get_nowait()
                except queue.Empty:
                    break
                last = following is None
                if following is not None:
                    group.append(following)
            self._commit_group(group)

    def _commit_group(self, group: Sequence[_WriteBatch]) -> None:
        news, ready = WriteResults(), []
        failure: BaseException | None = self._failure
        for identifier, future in (pair for batch in group for pair in batch.futures):
            try:
                ready.append(future.result())
            except StoreWriteError as error:
                failure = failure or error
            except DataError as error:
                news.refused.append((identifier, error))
            except BaseException as error:  # do not hang on a bug in a thread
                failure = failure or error
        try:
            if failure is None:
                news.added = self._store.commit(ready)
                mine = set(news.added)
                news.others = [item.row.id for item in ready if item.row.id not in mine]
        except BaseException as error:
            failure = error
        finally:
            for item in ready:
                item.discard()
        with self._changed:
            self._failure = failure
            self._held -= sum(batch.nbytes for batch in group)
            self._news.added += news.added
            self._news.others += news.others
            self._news.refused += news.refused
            self._changed.notify_all()
