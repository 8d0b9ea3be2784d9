"""What semiovs is made of: a CycloneDX 1.6 bill of materials (JSON) and a table of licences, of what is installed here.

    python .ci/bill_of_materials.py [--extra NAME]... [--out DIR]

Followed are the requirements of the distribution `semiovs` and of its extras (all but `dev` and `docs`, or those that
are named), as far as they are installed; what is not installed is said. Only metadata of installed packages are read.
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

NAME = "semiovs"
NOT_SHIPPED = ("dev", "docs")
#: How classifiers of licences end -> SPDX's identifier, or what is left of it where they tell no version.
_SPDX = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "MIT License": "MIT",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "Historical Permission Notice and Disclaimer (HPND)": "HPND",
}


def find_requirements(name: str, extras: Iterable[str]) -> dict[str, set[str]]:
    """Canonical name -> canonical names of the requirements that hold here, of `name` with `extras` and all below.

    A name that is not installed is there without requirements.
    """
    found: dict[str, set[str]] = {}
    waiting = [(canonicalize_name(name), frozenset(extras))]
    seen = set()
    while waiting:
        each = waiting.pop()
        if each in seen:
            continue
        seen.add(each)
        package, asked = each
        below = found.setdefault(package, set())
        for requirement in map(Requirement, _requires(package)):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *asked)):
                other = canonicalize_name(requirement.name)
                below.update({other} - {package})
                waiting.append((other, frozenset(requirement.extras)))
    return found


def _requires(package: str) -> Sequence[str]:
    try:
        return metadata.requires(package) or ()
    except metadata.PackageNotFoundError:
        return ()


def find_licence(about: Mapping[str, Any], classifiers: Sequence[str]) -> str:
    """What the metadata of a package say of its licence, in SPDX's words where that can be told; "" if nothing."""
    if given := about.get("License-Expression"):
        return str(given)
    named = [row.rpartition(" :: ")[2] for row in classifiers if row.startswith("License :: ")]
    named = [_SPDX.get(name, name) for name in named if name != "OSI Approved"]
    if named:
        return " OR ".join(dict.fromkeys(named))
    lines = str(about.get("License") or "").strip().splitlines()
    return lines[0][:80] if lines else ""


def describe(package: str) -> dict[str, Any]:
    """A component, in the terms of CycloneDX."""
    about = metadata.metadata(package)
    version, licence = about["Version"], find_licence(about, about.get_all("Classifier") or ())
    purl = f"pkg:pypi/{package}@{version}"
    choice = {"expression": licence} if about.get("License-Expression") else {"license": {"name": licence}}
    component: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": package, "version": version, "purl": purl}
    return component | ({"licenses": [choice]} if licence else {})


def make_bill(extras: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The bill of materials, and the names of requirements that are not installed."""
    graph = find_requirements(NAME, extras)
    installed = {package for package in graph if _is_installed(package)}
    components = {package: describe(package) for package in sorted(installed)}
    refs = {package: component["bom-ref"] for package, component in components.items()}
    own = {**components.pop(NAME), "type": "application"}
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid4()}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "component": own,
            "properties": [{"name": "semiovs:extras", "value": ",".join(sorted(extras))}],
        },
        "components": list(components.values()),
        "dependencies": [
            {"ref": refs[package], "dependsOn": sorted(refs[other] for other in graph[package] & installed)}
            for package in sorted(installed)
        ],
    }
    return bill, sorted(graph.keys() - installed)


def _is_installed(package: str) -> bool:
    try:
        return bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False


def format_licences(bill: Mapping[str, Any]) -> str:
    """A Markdown table: package, version, licence."""
    rows = ["| package | version | licence |", "|---|---|---|"]
    for component in bill["components"]:
        choice = (component.get("licenses") or [{}])[0]
        licence = choice.get("expression") or choice.get("license", {}).get("name") or "not stated"
        rows.append(f"| {component['name']} | {component['version']} | {licence} |")
    return "\n".join(rows) + "\n"


def list_extras() -> list[str]:
    """The extras of `semiovs` that are for users."""
    names = metadata.metadata(NAME).get_all("Provides-Extra") or []
    return sorted(set(names) - set(NOT_SHIPPED))


def main(arguments: Sequence[str]) -> int:
    """Write both files; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--extra", action="append", help="an extra to follow; default: all but dev and docs")
    parser.add_argument("--out", type=Path, default=Path("dist"), help="folder of sbom.cdx.json and licences.md")
    given = parser.parse_args(arguments)
    known = list_extras()
    if wrong := sorted(set(given.extra or ()) - set(known)):
        print(f"error: --extra {wrong[0]}: there are {', '.join(known)}", file=sys.stderr)
        return 2
    bill, absent = make_bill(given.extra or known)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "sbom.cdx.json").write_text(json.dumps(bill, indent=2) + "\n", "utf-8")
    (given.out / "licences.md").write_text(format_licences(bill), "utf-8")
    print(f"{len(bill['components'])} packages in {given.out / 'sbom.cdx.json'} and {given.out / 'licences.md'}")
    if absent:
        print(f"not installed, so not listed: {', '.join(absent)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
