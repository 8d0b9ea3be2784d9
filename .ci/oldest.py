"""The oldest versions that pyproject.toml allows, as constraints for pip: every `name>=X` becomes `name==X`."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def oldest_versions(text: str) -> list[str]:
    """Constraints of the build system, the dependencies and every extra in the text of a pyproject.toml.

    Raises:
        ValueError: a requirement is not `name>=X`, or two of them give one name different bounds.
    """
    table = tomllib.loads(text)
    project, pins = table["project"], {}
    extras = [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    for requirement in [*table["build-system"]["requires"], *project["dependencies"], *extras]:
        if requirement.startswith(f"{project['name']}["):  # an extra made of others
            continue
        found = re.fullmatch(r"([\w.-]+)>=([\w.]+)", requirement)
        if not found or pins.setdefault(found[1], found[2]) != found[2]:
            raise ValueError(f"pyproject.toml: '{requirement}': write name>=X, with one X for each name")
    return [f"{name}=={version}" for name, version in sorted(pins.items())]


if __name__ == "__main__":
    try:
        print("\n".join(oldest_versions(PYPROJECT.read_text("utf-8"))))
    except ValueError as wrong:
        sys.exit(f"error: {wrong}")
