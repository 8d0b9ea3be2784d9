"""What one call may touch of the program that makes it, and how all of it is put back."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import current_process

from semiovs.comparison.workers import IMPORTED_ANEW, explain_import
from semiovs.engine.host import Host
from semiovs.progress import Say, ShowProgress, print_line, show_progress

_log = logging.getLogger("semiovs")
#: Trainings seed torch's generators, of which a process has one set: they take turns.
_training = threading.Lock()


@dataclass(frozen=True)
class Session:
    """How a call reports. show: progress; say: one line, which also goes to the log; host: for the engine."""

    show: ShowProgress
    say: Say
    host: Host


@contextmanager
def session(*, progress: bool, trains: bool = False) -> Iterator[Session]:
    """One call: with `progress`, lines and bars on standard error; without, nothing but warnings that are logged.

    Handlers and levels of logging, and with `trains` the state of torch (generators, device, deterministic algorithms),
    are afterwards as before. Trainings of one process wait for each other.
    """
    _leave_imports_alone()
    with ExitStack() as stack:
        stack.enter_context(_relay.entered(shown=progress))
        if trains:
            stack.enter_context(_take_turn())
            stack.enter_context(_keep_torch_state())
        show = partial(show_progress, shown=progress)
        yield Session(show, partial(_log.info, "%s"), Host(shows=progress, may_end=False))


def _leave_imports_alone() -> None:
    """End a process that only imports the user's script, to which `semiovs.compare` gives a training afterwards."""
    if getattr(current_process(), "_inheriting", False):
        print_line(explain_import())
        sys.exit(IMPORTED_ANEW)


@contextmanager
def _take_turn() -> Iterator[None]:
    if not _training.acquire(blocking=False):
        _log.info("another training of this process is running; this one waits for it")
        _training.acquire()
    try:
        yield
    finally:
        _training.release()


@contextmanager
def _keep_torch_state() -> Iterator[None]:
    import torch

    cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cpu, gpus = torch.get_rng_state(), torch.cuda.get_rng_state_all() if cuda else []
    device = torch.cuda.current_device() if cuda else 0
    strict = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, workspace = torch.backends.cudnn.benchmark, os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    try:
        yield
    finally:
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(gpus)
            torch.cuda.set_device(device)
        elif torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # these GPUs had nothing but the CPU's seed
            torch.cuda.manual_seed_all(torch.initial_seed())
        torch.use_deterministic_algorithms(strict, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None:
            os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


class _LogRelay(logging.Handler):
    """While calls run, the log of the program takes INFO, so that log.txt of a run is whole.

    The caller's own logging gets what it would get otherwise; the rest is printed for calls that show progress.
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown: dict[int, bool] = {}  # thread -> whether its call shows progress
        self._change = threading.Lock()
        self._before = (logging.NOTSET, True)
        self._lets = logging.WARNING

    @contextmanager
    def entered(self, *, shown: bool) -> Iterator[None]:
        """One call, in its thread; calls may be nested."""
        thread = threading.get_ident()
        with self._change:
            if not self._shown:
                self._take_over()
            outer = self._shown.get(thread)
            self._shown[thread] = shown
        try:
            yield
        finally:
            with self._change:
                if outer is None:
                    del self._shown[thread]
                else:
                    self._shown[thread] = outer
                if not self._shown:
                    self._give_back()

    def _take_over(self) -> None:
        self._before, self._lets = (_log.level, _log.propagate), _log.getEffectiveLevel()
        _log.setLevel(min(self._lets, logging.INFO))
        _log.propagate = False
        _log.addHandler(self)

    def _give_back(self) -> None:
        _log.removeHandler(self)
        _log.setLevel(self._before[0])
        _log.propagate = self._before[1]

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a line on to the caller's logging, or print it."""
        shown = self._shown.get(record.thread or 0, any(self._shown.values()))
        handled = record.levelno >= self._lets and self._before[1]
        parent = logging.getLogger()
        if handled and (parent.hasHandlers() or not shown):
            parent.callHandlers(record)
        elif shown:
            print_line(self.format(record))


_relay = _LogRelay()
