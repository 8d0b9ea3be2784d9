"""The same targets for atheris, which chooses bytes by what they reach: `pip install atheris`, then
`python -m benchmarks.fuzz.atheris_targets TARGET [options of libFuzzer, such as -runs=1000]`.

It is no dependency. What is wrong by the rules of `case.Bench` ends it with the file that did it.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path


class WrongCaseError(Exception):
    """A case that was neither read nor refused."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Hand one target to atheris."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        print("atheris is not installed: pip install atheris", file=sys.stderr)
        return 4
    with atheris.instrument_imports(include=["semiovs"]):  # all that torch is made of would take minutes
        from benchmarks.fuzz.case import Bench
        from benchmarks.fuzz.targets import TARGETS
    if not given or given[0] not in TARGETS:
        print(f"name a target: {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(TARGETS[given[0]], Path(folder) / "case")
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, seed in enumerate(bench.seeds):
            (corpus / str(number)).write_bytes(seed)

        def check(data: bytes) -> None:
            found = bench.run(data, "atheris", 0)
            if found.kind == "wrong":
                raise WrongCaseError(found.what)

        atheris.Setup([sys.argv[0], *given[1:], str(corpus)], check)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
