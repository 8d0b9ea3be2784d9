"""Loader processes on a machine that is full, and those that do not answer."""

import contextlib
import errno
import multiprocessing
import os
import signal
import time
from collections import deque

import pytest
import torch

from semiovs.data import (
    LoadingStoppedError,
    StepStream,
    ViewRequest,
    choose_workers,
    loader,
    require_shared_memory,
)
from semiovs.data.workers import _wait_for_next
from semiovs.errors import ResourcesError
from unit import toy_data


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return toy_data.sources(toy_data.make(tmp_path_factory.mktemp("data")))


def stream(sources, views=None, **options):
    given = {"crop_size": 33, "batch_size": 2, "seed": 3, "micro_steps_total": 12, **options}
    return StepStream(sources, views or ViewRequest(unlabeled=2, mixing=True, ood=2), **given)


@pytest.mark.parametrize(
    "views",
    [
        ViewRequest(),
        ViewRequest(labeled=1),
        ViewRequest(unlabeled=2, mixing=True, ood=1),
        ViewRequest(unlabeled=0, ood=0),
    ],
)
def test_bytes_of_a_batch_are_counted_before_it_is_made(sources, views):
    def count(value) -> int:
        if isinstance(value, torch.Tensor):
            return value.numel() * value.element_size()
        parts = (
            value
            if isinstance(value, tuple)
            else [getattr(value, name) for name in getattr(value, "__dataclass_fields__", ())]
        )
        return sum(count(part) for part in parts)

    given = stream(sources, views)
    assert given.count_bytes() == count(given[0])


def test_workers_are_chosen_by_the_machine(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setattr("semiovs.data.machine_limits._find_free_shared_memory", lambda: 64 * 2**20)
    small, large = 2**20, 10 * 2**20
    assert [choose_workers(asked, large) for asked in (0, 9)] == [0, 9]
    assert choose_workers(None, small) == 2
    assert [choose_workers(None, small, on_gpu=True, processes=n) for n in (1, 2, 6)] == [5, 2, 1]
    assert choose_workers(None, large, on_gpu=True) == 2
    assert choose_workers(None, 10 * large) == 0
    require_shared_memory(large, choose_workers(None, large, on_gpu=True))
    monkeypatch.setattr("semiovs.data.machine_limits._find_free_shared_memory", lambda: None)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    assert choose_workers(None, large, on_gpu=True) == 8


def test_shared_memory_is_measured(monkeypatch):
    monkeypatch.setattr("semiovs.data.machine_limits._find_free_shared_memory", lambda: 64 * 2**20)
    require_shared_memory(10 * 2**20, 2)
    require_shared_memory(10 * 2**30, 0)
    with pytest.raises(ResourcesError, match=r"has 64 MB free, but .* need 70 MB; .*--shm-size.*data\.workers=0"):
        require_shared_memory(10 * 2**20, 3)
    with pytest.raises(ResourcesError, match="need 100 MB"):
        require_shared_memory(10 * 2**20, 2, processes=2)
    monkeypatch.setattr("semiovs.data.machine_limits._find_free_shared_memory", lambda: None)
    require_shared_memory(10 * 2**30, 3)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_no_memory_for_a_batch_is_one_line(sources, workers, error):
    class Large(StepStream):
        def __getitem__(self, step):
            raise error

    large = Large(sources, ViewRequest(), crop_size=33, batch_size=1, seed=0, micro_steps_total=4)
    with pytest.raises(ResourcesError, match=r"out of memory while loading images; .*data\.workers") as caught:
        list(loader(large, 0, 4, workers=workers))
    assert "\n" not in str(caught.value)


def test_shared_memory_that_fills_up_later_is_one_line(sources, monkeypatch):
    def full(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(ResourcesError, match=r"is full .*--shm-size"):
        list(loader(stream(sources), 0, 4, workers=1))
    assert len(list(loader(stream(sources), 0, 4, workers=0))) == 4


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP")
def test_a_stopped_worker_is_not_waited_for_once_the_run_is_to_end(sources):
    asked = []
    batches = loader(stream(sources), 0, 12, workers=1, stopping=lambda step: bool(asked.append(step)) or True)
    next(batches)
    (worker,) = multiprocessing.active_children()
    os.kill(worker.pid, signal.SIGSTOP)
    with pytest.raises(LoadingStoppedError) as stopped:
        list(batches)
    assert 1 <= stopped.value.step <= 3  # two batches were prepared
    assert set(asked) == {stopped.value.step}
    worker.join(10)
    assert worker.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
            r"no more processes or threads \(ulimit -u\)",
        ),
        (RuntimeError("can't start new thread"), r"no more processes or threads"),
        (OSError(errno.EMFILE, "Too many open files"), r"too many open files \(ulimit -n\)"),
        (RuntimeError("received 0 items of ancdata"), r"too many open files"),
    ],
)
def test_limits_on_processes_and_files_are_one_line(sources, monkeypatch, error, told):
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("semiovs.data.workers._start_loader", refuse)
    with pytest.raises(ResourcesError, match=rf"{told}.*at micro-step 0; .*data\.workers=0"):
        list(loader(stream(sources), 0, 4, workers=4))


@pytest.mark.skipif(os.name == "nt", reason="no such limit")
def test_the_limit_on_open_files_is_raised_as_far_as_it_goes(sources):
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[1], 500), before[1]))
    try:
        assert len(list(loader(stream(sources), 0, 2, workers=1))) == 2
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= min(before[1], 4096)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.skipif(os.name == "nt", reason="no such limit")
@pytest.mark.parametrize("left", [3, 12, 40])
def test_few_open_files_are_one_line_and_no_hang(sources, left):
    import resource

    class Limited(StepStream):
        def __getitem__(self, step):
            if step == 0:  # in the worker alone
                resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
                taken = []
                with contextlib.suppress(OSError):
                    while True:
                        taken.append(os.open(os.devnull, os.O_RDONLY))
                for file in taken[:left]:
                    os.close(file)
            return super().__getitem__(step)

    views = ViewRequest(unlabeled=2, mixing=True, ood=2)
    limited = Limited(sources, views, crop_size=33, batch_size=2, seed=0, micro_steps_total=12)
    with pytest.raises(ResourcesError, match=r"too many open files \(ulimit -n\).*data\.workers=0"):
        deque((time.sleep(0.01) for _ in loader(limited, 0, 12, workers=1)), maxlen=0)  # the worker gets ahead


def test_a_thread_that_pins_memory_and_ends_is_told():
    class Thread:
        def is_alive(self):
            return False

    class Batches:
        _pin_memory_thread = Thread()

        def __next__(self):
            raise RuntimeError("DataLoader timed out after 1 seconds")

    with pytest.raises(ResourcesError, match="page-locked memory has ended"):
        _wait_for_next(Batches(), lambda: False)
