"""The command line: one file a verb, heavy imports inside the verb."""

from __future__ import annotations

from collections.abc import Sequence


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    from semiovs.cli.app import main

    return main(arguments)
