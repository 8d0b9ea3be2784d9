"""Where a network computes: what `auto`, a name and a process's number mean, on machines with and without GPUs."""

import pytest
import torch

from semiovs.engine.distributed import join_processes
from semiovs.errors import ConfigError, UsageError
from semiovs.models.device import pick_device


@pytest.fixture
def gpus(monkeypatch):
    def set_count(count):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)

    return set_count


def test_auto_is_the_gpu_of_the_process_where_there_is_one(gpus):
    gpus(0)
    assert pick_device("auto") == pick_device("auto", rank=3) == torch.device("cpu")
    gpus(2)
    assert pick_device("auto", rank=1) == pick_device("cuda:1", rank=0) == torch.device("cuda", 1)


def test_auto_looks_for_other_gpus_after_cuda(gpus, monkeypatch):
    monkeypatch.setattr(torch, "empty", lambda *_, **__: None)  # nothing can be made on a GPU that is not there
    gpus(0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("auto") == pick_device("auto", rank=0) == torch.device("mps")
    assert pick_device("auto", rank=0, shared=True) == torch.device("cpu")
    gpus(1)
    assert pick_device("auto", rank=0).type == "cuda"
    gpus(0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: True)
    assert pick_device("auto") == torch.device("xpu")


@pytest.mark.parametrize(
    ("count", "name", "rank", "message"),
    [
        (0, "cdua", None, "device 'cdua' is not there"),
        (0, "cuda", None, "no GPU is usable here; use auto or cpu"),
        (2, "cuda:2", 0, "this machine has 2 GPU"),
        (2, "auto", 2, "process 2 wants GPU 2, but there are 2; lower --nproc-per-node"),
    ],
)
def test_a_device_that_is_not_there(gpus, count, name, rank, message):
    gpus(count)
    with pytest.raises(UsageError, match=message):
        pick_device(name, rank=rank)


def test_training_names_the_key(gpus):
    gpus(0)
    with pytest.raises(ConfigError, match=r"train\.device: device 'cuda' is not there"), join_processes("cuda", {}):
        pass
