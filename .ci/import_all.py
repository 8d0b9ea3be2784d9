"""Import every module of the semiovs that this Python finds, and print where it lies.

A folder as argument: semiovs must lie inside.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

import semiovs

if __name__ == "__main__":
    home = Path(semiovs.__file__).resolve().parent
    if sys.argv[1:] and not home.is_relative_to(Path(sys.argv[1]).resolve()):
        sys.exit(f"error: semiovs is imported from {home}, not from {sys.argv[1]}")
    names = [module.name for module in pkgutil.walk_packages(semiovs.__path__, "semiovs.")]
    for name in names:
        importlib.import_module(name)
    print(f"{len(names)} modules in {home}")
