import hashlib
import json

import pytest
import torch

from e2e import folders, toy_ranks
from e2e.launcher import command, command_on_ranks, ranks
from semiovs.engine.randomness import make_step_seed
from semiovs.engine.run import read_metrics
from unit import toy_data
from unit.toy_learner import ToyMethod, batch_of


def gradients_of(rank: int, micro: int) -> tuple[list[torch.Tensor], float]:
    method = ToyMethod()
    method.train()
    torch.manual_seed(make_step_seed(0, 0, micro, rank))
    batch = batch_of(micro, rank=rank)
    loss = torch.nn.functional.cross_entropy(method.student(batch.labeled.image), batch.labeled.mask)
    loss.backward()
    return [parameter.grad for parameter in method.student.parameters()], float(loss.detach())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_ranks_step_along_the_mean_of_all_gradients(tmp_path, accumulate):
    assert ranks(toy_ranks.average_gradients, str(tmp_path), accumulate, directory=tmp_path) == [0, 0]
    ends = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    parts = [gradients_of(rank, micro) for rank in range(2) for micro in range(accumulate)]
    for index, (name, before) in enumerate(ToyMethod().student.named_parameters()):
        mean = sum(part[0][index] for part in parts) / len(parts)
        torch.testing.assert_close(ends[0]["weights"][name], before.detach() - 0.1 * mean, rtol=1e-5, atol=1e-7)
        assert torch.equal(ends[0]["weights"][name], ends[1]["weights"][name])
    assert ends[0]["row"] == ends[1]["row"]
    assert ends[0]["row"]["loss"] == pytest.approx(sum(part[1] for part in parts) / len(parts), rel=1e-5)


def test_a_divergence_on_one_rank_is_everybodys(tmp_path):
    assert ranks(toy_ranks.diverge_on_one_rank, str(tmp_path), "raise", directory=tmp_path) == [0, 0]
    ends = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert all("diverged at step 2" in end["end"] for end in ends)
    assert "term/x" in ends[1]["end"]


def test_skipping_keeps_the_ranks_together(tmp_path):
    assert ranks(toy_ranks.diverge_on_one_rank, str(tmp_path), "skip", directory=tmp_path) == [0, 0]
    ends = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert [end["end"] for end in ends] == ["skipped 1", "skipped 1"]
    for name, _ in ToyMethod().student.named_parameters():
        assert torch.equal(ends[0]["weights"][name], ends[1]["weights"][name])


def test_all_ranks_stop_at_the_same_step(tmp_path):
    assert ranks(toy_ranks.stop_together, str(tmp_path), directory=tmp_path) == [0, 0]
    assert sorted(path.name for path in tmp_path.glob("stopped-*")) == ["stopped-0-10", "stopped-1-10"]
    assert (tmp_path / "step-00000010.pt").exists()


def test_two_ranks_return_the_scores_of_all_images_or_stop_both(tmp_path):
    toy_data.write_bright_and_dark(tmp_path)
    assert ranks(toy_ranks.score_together, str(tmp_path), directory=tmp_path) == [0, 0]
    ends = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert ends == [{"scores": toy_ranks.score(str(tmp_path)), "stopped": True}] * 2


def test_two_ranks_rehearse_together_and_leave_no_trace(data, tmp_path):
    """The memory of AllSpark is gathered from the ranks in each pass, also in those that are thrown away."""
    ends = []
    for fewest in (99, 4):
        run = tmp_path / f"run{fewest}"
        own = folders.settings(data, run, method__name="allspark", train__steps=4, train__eval_every=2)
        assert ranks(toy_ranks.rehearse_and_train, fewest, *own, directory=tmp_path) == [0, 0]
        ends.append(hashlib.sha256((run / "checkpoints/step-00000004.pt").read_bytes()).hexdigest())
        told = [line for line in (run / "log.txt").read_text().splitlines() if "4 steps of" in line]
        assert len(told) == (fewest == 4)
        assert all("and 2 evaluations of" in line for line in told)
        assert "steps of" not in (tmp_path / "rank1.log.err").read_text()
    assert ends[0] == ends[1]


def test_each_rank_goes_on_with_its_own_statistics(tmp_path):
    assert ranks(toy_ranks.stop_and_go_on, str(tmp_path), directory=tmp_path) == [0, 0]
    ends = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert not torch.equal(ends[0]["mean"], ends[1]["mean"])
    for end in ends:
        assert end["same"]
        assert end["rows"][0] == end["rows"][1] != {}


def test_all_ranks_remember_rank_0_s_models_and_ask_the_same_ones(tmp_path):
    assert ranks(toy_ranks.remember_alike, str(tmp_path), directory=tmp_path) == [0, 0]
    ends = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert len(ends[0]["ring"]) == 4
    for one, other in zip(ends[0]["ring"], ends[1]["ring"], strict=True):
        assert all(torch.equal(value, other[name]) for name, value in one.items())
    newest = ends[1]["ring"][-1]
    assert all(torch.equal(value, newest[name]) for name, value in ends[0]["own"].items())
    assert not all(torch.equal(value, newest[name]) for name, value in ends[1]["own"].items())  # its own statistics
    assert ends[0]["asked"] == ends[1]["asked"]
    assert len({len(choice) for choice in ends[0]["asked"]}) > 1


def test_a_run_of_two_ranks_goes_on_with_one_and_says_what_that_means(data, tmp_path):
    run = tmp_path / "run"
    own = folders.settings(data, run, train__steps=4, train__save_every=2, train__eval_every=4, train__log_every=1)
    assert command_on_ranks("train", *own, directory=tmp_path) == [0, 0]
    before = [row["loss"] for row in read_metrics(run / "metrics.jsonl") if row["kind"] == "train"]
    for left in (run / "checkpoints").glob("step-00000004.pt*"):
        left.unlink()
    assert command("resume", str(run), log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()
    told = (tmp_path / "log.err").read_text()
    assert "the run had 2 process(es), now it has 1: it goes on, but not bit for bit as before" in told
    rows = [row for row in read_metrics(run / "metrics.jsonl") if row["kind"] == "train"]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert [row["loss"] for row in rows[:2]] == before[:2]
    assert [row["loss"] for row in rows[2:]] != before[2:]
    state = torch.load(run / "checkpoints" / "step-00000004.pt", weights_only=True)
    assert (state["world_size"], state["ranks"]) == (1, [])


def test_train_with_resume_begins_and_then_goes_on(data, tmp_path):
    run, straight = tmp_path / "run", tmp_path / "straight"
    options = {"train__steps": 4, "train__save_every": 2, "train__eval_every": 4}
    own = [*folders.settings(data, run, **options), "--resume"]
    assert command("train", *own, log=tmp_path / "log") == 0
    assert "continuing" not in (tmp_path / "log.err").read_text()
    for left in (run / "checkpoints").glob("step-00000004.pt*"):
        left.unlink()
    assert command("train", *own, log=tmp_path / "log") == 0
    assert "continuing after step 2 of 4" in (tmp_path / "log.err").read_text()
    assert len((run / "command.txt").read_text().splitlines()) == 2
    assert command("train", *folders.settings(data, straight, **options), log=tmp_path / "log") == 0
    ends = [(folder / "checkpoints/step-00000004.pt").read_bytes() for folder in (run, straight)]
    assert ends[0] == ends[1]
    assert command("train", *own, "--overwrite", log=tmp_path / "log") == 2
