"""Files that a stranger may have made: small valid ones, spoilt at random, read by the program's own readers.

`python -m benchmarks.fuzz` writes what came of it; `tests/contract/test_fuzz.py` runs some cases of all targets.
"""
