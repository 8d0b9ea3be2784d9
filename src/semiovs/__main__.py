"""``python -m semiovs``, ``torchrun -m semiovs`` and the ``semiovs`` command."""

import sys


def main() -> None:
    """Run the command line and exit with its documented code."""
    from semiovs.cli import run
    from semiovs.launch_notes import LaunchNotes

    notes = LaunchNotes.find()
    if notes is None:
        sys.exit(run(sys.argv[1:]))
    notes.begin()  # before the question: either the launcher sees this rank, or this rank sees that it is to end
    if notes.is_stopping():  # torchrun has begun this rank again, though the launch was asked to end
        notes.end(75)
        sys.exit(75)
    code = run(sys.argv[1:])
    notes.end(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
