"""Checks of a method: on toy batches, in seconds, on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from semiovs.methods import Method
from semiovs.testing.checks import Check, refuse_unknown
from semiovs.testing.method_contract import IN_EVERY_ARM, ONCE, Build, Ood, thresholds_per_class
from semiovs.testing.toy import ARMS, MakeSegmenter, ToyMethod


def method_checks(
    method: str | type[Method],
    *,
    segmenter: MakeSegmenter | None = None,
    skip: Collection[str] = (),
    build: Build | None = None,
    **options: Any,
) -> list[Check]:
    """Return the checks of `check_method` one by one, for ``pytest.mark.parametrize("check", …, ids=str)``.

    build: used in the place of `ToyMethod`, for a method that needs more preparation.
    """
    toy = ToyMethod(method, segmenter, options)
    refuse_unknown(skip, [check.__name__ for check in (*IN_EVERY_ARM, *ONCE)])
    make, accepted, subject = build or toy, frozenset(toy.accepted), f"method '{toy.name}'"
    checks = []
    for check in IN_EVERY_ARM:
        body = partial(check, _drop_unaccepted(make, accepted))
        checks += [Check(f"{check.__name__}[{arm}]", subject, partial(body, ARMS[arm])) for arm in ARMS]
    for once in _choose_checks(toy):
        checks.append(Check(once.__name__, subject, partial(once, _drop_unaccepted(make, accepted))))
    return [check for check in checks if check.name.partition("[")[0] not in skip]


def check_method(
    method: str | type[Method], *, segmenter: MakeSegmenter | None = None, skip: Collection[str] = (), **options: Any
) -> None:
    """Run every check of a method on toy batches.

    method: its name (``semiovs list methods``) or class; segmenter: builds a small segmenter with 4 classes, given
    ``"batch"`` or ``"group"``, for methods whose default segmenter has no small form; skip: names of checks that do
    not apply; options: of the method.

    Raises:
        AssertionError: a check does not hold: which one, what was expected and what to do; UsageError: no such method
        or check.
    """
    for check in method_checks(method, segmenter=segmenter, skip=skip, **options):
        check()


def _drop_unaccepted(make: Build, accepted: Collection[str]) -> Build:
    """`make`, without an EMA decay or class thresholds that the method has no option for."""

    def build(ood: Ood = None, **keywords: Any) -> Method:
        general = {"norm", "seed", *accepted}
        return make(ood, **{key: value for key, value in keywords.items() if key in general})

    return build


def _choose_checks(toy: ToyMethod) -> list[Callable[[Build], None]]:
    """Checks that are run once; thresholds per class only where the option takes a list."""
    option = toy.accepted.get("conf_thresh")
    per_class = option is not None and option.takes_list
    return [check for check in ONCE if per_class or check is not thresholds_per_class]
