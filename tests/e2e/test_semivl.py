"""SemiVL from the command line, on a CPU and without any weights: a tiny tower, and words that are learnt."""

import shutil
from pathlib import Path

from e2e.folders import settings, write
from e2e.launcher import command
from semiovs.engine.run import read_metrics
from semiovs.inference import Predictor
from semiovs.models.weights import read_checkpoint


def arguments(data: Path, run: Path, **values: object) -> list[str]:
    model = {
        "method__name": "semivl", "model__name": "semivl", "model__taps": "[0,1]", "model__text": "words", "model__trained": "all",
        "model__image_size": 32, "model__up_channels": "[16,16]", "model__skip_channels": "[8,8]", "model__pool": 2,
        "optim__name": "adamw", "optim__lr": 1e-3, "optim__head_lr_multiplier": 1, "train__steps": 4, "train__eval_every": 4,
        "train__save_every": 2, "eval__mode": "sliding", "eval__average": "logits", "eval__short_side": 40, "data__fit": "[64,48]",
    }  # fmt: skip
    return settings(data, run, **{**model, **values})


def test_train_with_ood_predict_and_continue_bit_for_bit(tmp_path):
    """Without CLIP weights the guide stands whole in the checkpoint, with its words, and comes back."""
    data, run, cut = write(tmp_path / "data"), tmp_path / "run", tmp_path / "cut"
    assert command("train", *arguments(data, run), log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()
    rows = [row for row in read_metrics(run / "metrics.jsonl") if row["kind"] == "train"]
    assert {"term/mc_s1", "term/mc_s2", "term/mc_fp", "term/ood_fp"} <= set(rows[-1])

    predictor = Predictor.load(run, device="cpu")
    assert (predictor.settings.average, predictor.settings.short_side) == ("logits", 40)
    assert predictor(data / "ood" / "o0.png").labels.shape == (48, 48)

    shutil.copytree(run, cut)
    for file in (cut / "checkpoints").glob("*4.pt*"):
        file.unlink()
    (cut / "checkpoints" / "best.pt").unlink(missing_ok=True)
    assert command("resume", str(cut), log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()
    first, second = (next((folder / "checkpoints").glob("step-*4.pt")) for folder in (run, cut))
    assert first.read_bytes() == second.read_bytes()
    assert {"guide.tower.proj", "guide.concepts"} <= set(read_checkpoint(first)["method"])
