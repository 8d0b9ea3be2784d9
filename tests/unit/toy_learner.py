"""A method and a stream small enough to train in milliseconds, for tests of the engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semiovs.data import Batch, Labeled
from semiovs.engine.distributed import World
from semiovs.engine.finite_guard import FiniteGuard
from semiovs.engine.loop import Learner, Recipe
from semiovs.engine.lr_schedule import Schedule
from semiovs.engine.precision import Precision
from semiovs.methods import Learn, Progress, Step, Terms

CPU = World(torch.device("cpu"))


class ToyMethod(nn.Module):
    """Dropout (model draws), BatchNorm (buffers) and an average of past weights (state written in after_step)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.student = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 2, 1)
        )
        self.ema = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 2, 1))
        self.ema.load_state_dict(self.student.state_dict())
        self.ema.requires_grad_(False)
        self.heard: list[Mapping[str, float]] = []

    def forward(self, batch: Batch, progress: Progress, learn: Learn | None = None) -> Step:
        logits = self.student(batch.labeled.image)
        terms = {"x": (1.0, F.cross_entropy(logits, batch.labeled.mask))}
        if progress.step % 2:
            terms["odd"] = (0.5, logits.square().mean())
        return Step(Terms(terms, normaliser=1.0), log={"confident": logits.detach().softmax(1).amax(1).mean()})

    def models(self) -> dict[str, nn.Module]:
        return {"student": self.student, "ema": self.ema}

    def after_step(self, progress: Progress) -> None:
        with torch.no_grad():
            for slow, fast in zip(self.ema.parameters(), self.student.parameters(), strict=True):
                slow.lerp_(fast, 0.1)

    def after_evaluate(self, metrics: Mapping[str, float]) -> None:
        self.heard.append(metrics)


def batch_of(index: int, *, rank: int = 0, bad: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(1000 * rank + index)
    image = torch.rand(2, 3, 8, 8, generator=generator)
    if bad:
        image[0, 0, 0, 0] = float("nan")
    return Batch(Labeled(image, torch.randint(0, 2, (2, 8, 8), generator=generator)))


def batches(start: int = 0, *, rank: int = 0, bad: tuple[int, ...] = ()) -> Iterator[Batch]:
    index = start
    while True:
        yield batch_of(index, rank=rank, bad=index in bad)
        index += 1


def to_device(batch: Batch) -> Batch:
    return batch


def learner_of(world: World = CPU, *, policy: str = "raise", max_skipped: int = 2, scaler: bool = False) -> Learner:
    method = ToyMethod()
    optimizer = torch.optim.SGD(method.student.parameters(), lr=0.1, momentum=0.9)
    grad_scaler = torch.amp.GradScaler("cpu", enabled=scaler, init_scale=2.0**8, growth_interval=3)
    guard = FiniteGuard(world, policy, max_skipped)
    return Learner(method, [optimizer], grad_scaler, guard)


def recipe_of(total: int = 8, *, accumulate: int = 1, clip_norm: float | None = None, seed: int = 0) -> Recipe:
    return Recipe(Schedule(total), Precision("fp32"), to_device, 3, accumulate, clip_norm, seed)


def weights(learner: Learner) -> Tensor:
    state = learner.method.state_dict()
    return torch.cat([state[key].double().flatten() for key in sorted(state)])
