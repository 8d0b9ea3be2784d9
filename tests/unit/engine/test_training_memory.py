"""A training that does not fit into memory ends with one line that names what needs less."""

from types import SimpleNamespace

import pytest
import torch

from semiovs.cli.app import main
from semiovs.config.schema import Config
from semiovs.engine import training
from semiovs.engine.precision import Precision
from semiovs.engine.training import explain_out_of_memory
from semiovs.errors import ResourcesError
from unit import toy_data

CPU = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes\nframes")
GPU = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nmore")


@pytest.mark.parametrize(
    ("error", "device", "precision", "told"),
    [
        (CPU, "cpu", "fp32", "out of memory at step 7 "),
        (MemoryError(), "cuda", "fp32", "out of memory at step 7 "),
        (GPU, "cuda", "bf16", "out of GPU memory at step 7 "),
        (GPU, "cuda", "fp32", "out of GPU memory at step 7 "),
    ],
)
def test_it_names_the_settings_that_need_less(error, device, precision, told):
    experiment = SimpleNamespace(
        learner=SimpleNamespace(step=7),
        config=Config(),
        world=SimpleNamespace(device=torch.device(device)),
        recipe=SimpleNamespace(precision=Precision(precision)),
    )
    with pytest.raises(ResourcesError) as caught, explain_out_of_memory(experiment):
        raise error
    text = str(caught.value)
    assert text.startswith(f"{told}with train.batch_size={Config().train.batch_size} and data.crop_size=")
    assert "train.accumulate keeps the total batch" in text
    assert ("train.precision=bf16" in text) == ((device, precision) == ("cuda", "fp32") and error is GPU)
    assert "\n" not in text


def test_a_training_ends_with_exit_code_2(tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise GPU

    monkeypatch.setattr(training, "fit", fail)
    root = toy_data.make(tmp_path / "data")
    small = ["model.encoder=tiny", "data.crop_size=33", "data.workers=0", "train.steps=1", "run.log=[]"]
    assert main(["train", f"data.root={root}", *small, "train.device=cpu", f"run.dir={tmp_path / 'run'}"]) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    assert "out of memory at step 0" in told[0]
