"""The stages are measured on a few images; the numbers mean nothing, that all are there does."""

from __future__ import annotations

import json

import numpy as np
from benchmarks import pictures
from benchmarks.scale import page
from benchmarks.scale.__main__ import main
from benchmarks.scale.plan import ImageCost


def test_a_measurement_has_all_that_a_plan_needs(tmp_path, capsys):
    images, scores, out = tmp_path / "set/images", tmp_path / "set/scores", tmp_path / "out.json"
    for folder in (images, scores):
        folder.mkdir(parents=True)
    for image, mask in pictures.make(images, 3, (64, 48)):
        mask.unlink()
        soft = np.random.default_rng(0).integers(0, 256, (2, 12, 16), np.uint8)
        np.savez(scores / f"{image.stem}.npz", scores=soft)
    (tmp_path / "classes.txt").write_text("dark\nbright\n")
    ask = ["--set", str(images), str(scores), "--classes", str(tmp_path / "classes.txt")]
    assert main(["measure", *ask, "--runs", "1", "--many", "50", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    (row,) = result["sets"]
    assert (row["name"], row["images"], row["pixels"]) == ("set", 3, 64 * 48)
    assert row["image_bytes"] == round(sum(path.stat().st_size for path in images.iterdir()) / 3)
    assert 0 < row["label_bytes"] + row["confidence_bytes"] <= row["disk_bytes"] + 8192
    assert all(value >= 0 for value in row["cpu_ms"].values())
    assert result["index"]["memory_bytes"] > result["index"]["bytes"]
    cost = ImageCost.of(result)
    assert cost.label + cost.confidence == row["label_bytes"] + row["confidence_bytes"]
    assert "| set |" in "\n".join(page.stages(result))
    assert page.dispatching(result) == ["*not yet run*"]
