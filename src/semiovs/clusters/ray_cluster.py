"""The Ray cluster that a job runs on: that of `RAY_ADDRESS`, else this machine alone."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from semiovs.clusters.ray_address import require_listener
from semiovs.errors import MissingExtraError, UsageError


def wants_ray(engine: str, workers: int | None, *, instead: str) -> bool:
    """Whether ``--engine ray`` was asked for, and a cluster can be; instead: what to use without it, for the message
    about ``--workers``.

    Raises:
        UsageError: an unknown engine, or workers of one that has none; others as `require_ray`.
    """
    if engine not in ("local", "ray"):
        raise UsageError(f"--engine {engine}: local or ray")
    if engine == "local" and workers is not None:
        raise UsageError(f"--workers: for --engine ray; without it {instead}")
    if engine == "ray":
        require_ray()
    return engine == "ray"


def require_ray() -> None:
    """Check what can be checked before any work.

    Raises:
        UsageError: started by torchrun, or nobody listens at `RAY_ADDRESS`; MissingExtraError: Ray is not installed.
    """
    from semiovs.engine.distributed import is_launched  # imports torch, which `data check` does not need

    if is_launched():
        raise UsageError("--engine ray starts its own processes: run it once, without torchrun")
    loaded: Any = sys.modules.get("ray")
    if loaded is None and importlib.util.find_spec("ray") is None:
        raise MissingExtraError("--engine ray needs Ray; pip install 'semiovs[ray]'")
    if loaded is None or not loaded.is_initialized():  # else the program has joined one itself
        require_listener()


@contextmanager
def join_cluster(gpus: int, workers: int | None) -> Iterator[int]:
    """Join the cluster, or start one on this machine; gives the largest number of actors.

    gpus: that an actor takes; workers: largest number that is wanted, None: as many as the cluster has GPUs, or cores
    where an actor takes no GPU.

    Raises:
        MissingExtraError: Ray is not installed; UsageError: the cluster cannot be reached.
    """
    require_ray()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    import ray as library

    ray: Any = library
    own = not ray.is_initialized()
    if own:
        # "local": not a cluster that somebody else has started here
        place = {} if os.environ.get("RAY_ADDRESS") else {"address": "local", "include_dashboard": False}
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **place)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            reason = str(error).splitlines()[0][:200]
            raise UsageError(f"RAY_ADDRESS: the Ray cluster cannot be joined: {reason}") from None
    importlib.import_module("ray.data")  # sets the levels of its loggers
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # errors come back, and are told once
    with redirect_stdout(sys.stderr):  # Ray tells of lost machines there, and a report may be on stdout
        try:
            yield max(1, workers or int(ray.cluster_resources().get("GPU" if gpus else "CPU", 1)))
        finally:
            if own:
                ray.shutdown()
