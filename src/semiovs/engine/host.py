"""The program that a job of the engine runs in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Host:
    """shows: whether a training prints its lines and bar; may_end: whether a second signal ends the process at once, as
    a command does; in a notebook, or any program of the user's, it raises KeyboardInterrupt.
    """

    shows: bool = True
    may_end: bool = True


#: The command line.
COMMAND = Host()
