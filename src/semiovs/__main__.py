"""``python -m semiovs``, ``torchrun -m semiovs`` and the ``semiovs`` command."""

import sys


def main() -> None:
    """Run the command line and exit with its documented code."""
    from semiovs.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
