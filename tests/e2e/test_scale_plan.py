"""The plan of a job, the grid of fleets, and what the page says of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.scale import grid, page
from benchmarks.scale.__main__ import main
from benchmarks.scale.plan import ImageCost, Plan, format_bytes, format_time

ROOT = Path(__file__).parents[2]
COST = ImageCost(
    image=5e4, label=6e3, confidence=4e4, disk=5e4, line=300, memory=450, labelling=0.02, check=0.0025, features=0.005,
    listing=4e-5,
)  # fmt: skip


def test_a_plan_multiplies_what_an_image_takes():
    plan = Plan(7_200_000, COST, speed=200, gpus=10, network=1)
    assert plan.gpu_hours == 10
    assert plan.cores == pytest.approx(4)
    rows = plan.rows(price=2.5)
    assert (rows["10 GPUs"], rows["one GPU at 200 images/s"], rows["price of the GPUs"]) == ("60 min", "10 h", "25.00")
    assert (rows["images"], rows["labels and confidences"]) == ("360 GB", "331 GB")
    assert rows["images over 1 Gbit/s"] == "48 min"
    assert rows["one core labels, beside the teacher"] == "1.67 days"


def test_units():
    assert [format_bytes(number) for number in (12, 1234, 5e10, 5.5e16)] == ["12 B", "1.23 kB", "50 GB", "55 PB"]
    assert [format_time(number) for number in (2, 600, 7200, 3 * 86400)] == ["2 s", "10 min", "2 h", "3 days"]


def test_the_command_plans_with_ones_own_numbers(capsys):
    stages = ROOT / page.STAGES
    assert main(["plan", "--images", "1e6", "--speed", "100", "--gpus", "5", "--stages", str(stages)]) == 0
    told = capsys.readouterr().out
    assert "one GPU at 100 images/s" in told
    assert "2.78 h" in told
    with pytest.raises(SystemExit):
        main(["plan", "--images", "0", "--stages", str(stages)])


def test_a_small_grid_has_what_the_page_shows(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "BLOCKS", (500, 2_000, 20_000))
    monkeypatch.setattr(grid, "_SMALL", 1_000)
    result = grid.run(grid.Dispatch(0.01, 0.0001), seeds=2, images=10**6, workers=20)
    assert result == {
        **grid.run(grid.Dispatch(0.01, 0.0001), seeds=2, images=10**6, workers=20),
        "cpu_s": result["cpu_s"],
    }
    walls = {(r["commands"], r["block"], r["kept"], r["preempted"]): r["wall_s"] for r in result["rows"]}
    assert walls[20, 50_000, 8, 0.0] == pytest.approx(50_000 / 200, rel=1e-3), "2 % of 20 workers are none"
    assert all(row["wall_s"] >= result["ideal_s"] for row in result["rows"])
    assert walls[10, 20_000, None, 1.0] > walls[10, 2_000, None, 1.0]
    lines = page.fleet(result)
    assert len([line for line in lines if line.startswith("| 20 |")]) == 2
    page.chart(result, tmp_path / "chart.svg")
    assert (tmp_path / "chart.svg").stat().st_size > 5_000


def test_the_page_is_what_the_results_say():
    text = (ROOT / page.PAGE).read_text("utf-8")
    stages, fleet = (json.loads((ROOT / path).read_text("utf-8")) for path in (page.STAGES, page.FLEET))
    for lines in (page.stages(stages), page.storage(stages), page.decades(stages), page.dispatching(stages)):
        assert "\n".join(lines) in text
    assert "\n".join(page.fleet(fleet)) in text
    ray = stages["ray"]
    assert fleet["measured"]["task"] == ray["task_cpu_ms"] / 1e3
    assert page.stages(None) == page.fleet(None) == ["*not yet run*"]
