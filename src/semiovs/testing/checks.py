"""The form of all checks: name, subject, and a message that says what was expected and what to do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from semiovs.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Check:
    """One check of one thing, by name; call it.

    Raises:
        AssertionError: it does not hold; the message names subject and check, and says what was expected and what to
        do.
    """

    name: str
    subject: str
    body: Callable[[], None]

    def __call__(self) -> None:
        """Run the check."""
        try:
            self.body()
        except AssertionError as error:
            raise AssertionError(f"{self.subject}: check {self.name}: {error}") from error
        except Exception as error:
            raise AssertionError(
                f"{self.subject}: check {self.name}: {type(error).__name__}: {error}; it must run without an error"
            ) from error

    def __str__(self) -> str:
        return self.name


def require(held: bool, expected: str) -> None:
    """Raise AssertionError with `expected` (what should be, and what to do) unless `held`."""
    if not held:
        raise AssertionError(expected)


def refuse_unknown(skip: Collection[str], known: Iterable[str]) -> None:
    """Raise UsageError for a name in `skip` that no check has."""
    names = list(known)
    for name in skip:
        if name not in names:
            raise UsageError(f"skip: no check is called '{name}'{did_you_mean(name, names)}")
