"""What a trial is: a kind of harm, drawn anew each time, and what came of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.chaos.world import World


class WrongError(Exception):
    """Something was lost, changed, silently begun anew, or ended with a traceback or an undocumented exit code."""


class NotCoveredError(Exception):
    """This machine cannot do such harm; the message says what is lacking."""


@dataclass
class Story:
    """What a trial did, one sentence a harm; filled while it runs, so that a wrong one can be told in full."""

    draws: random.Random
    number: int
    harms: list[str] = field(default_factory=list)
    went_by: int = 0

    def tell(self, harm: object, told: str = "") -> None:
        """Note a harm; told: of the process, whose line on where it was struck is kept."""
        struck = next((line for line in told.splitlines() if line.startswith("chaos: ")), "")
        where = struck.removeprefix("chaos: ")
        self.harms.append(f"{harm} ({where})" if where else str(harm))

    def miss(self) -> None:
        """Note that a process ended before its harm could strike."""
        self.went_by += 1


@dataclass(frozen=True)
class Kind:
    """harm: a sentence for the table; times: trials of a whole campaign; trial: raises WrongError, NotCoveredError."""

    name: str
    harm: str
    times: int
    trial: Callable[[World, Story], None]


KINDS: dict[str, Kind] = {}


def kind(
    name: str, harm: str, times: int
) -> Callable[[Callable[[World, Story], None]], Callable[[World, Story], None]]:
    """Register a trial: `@kind("kill-train", "…", times=10)`."""

    def register(trial: Callable[[World, Story], None]) -> Callable[[World, Story], None]:
        assert name not in KINDS, name
        KINDS[name] = Kind(name, harm, times, trial)
        return trial

    return register


def require(holds: object, reason: str, told: Any = "") -> None:
    """Raise WrongError with the end of what was said, unless it holds."""
    if not holds:
        raise WrongError(f"{reason}{told and ': ' + str(told)[-1500:]}")


def require_code(code: int | None, expected: int | tuple[int, ...], told: str, what: str = "it") -> None:
    """Require a documented exit code and, of an error, a message in the place of a traceback."""
    wanted = (expected,) if isinstance(expected, int) else expected
    require(code in wanted, f"{what} ended with {code}, not {' or '.join(map(str, wanted))}", told)
    require("Traceback" not in told, f"{what} ended with a traceback", told)


def require_same(difference: str | None) -> None:
    """Require that nothing differs from what nobody disturbed."""
    require(difference is None, f"not as undisturbed: {difference}")
