"""Write the files of a selection: manifest.jsonl (chosen), dropped.jsonl (with reasons), select.json (summary)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from semiovs.files import atomic_write, sha256_of, write_json
from semiovs.images.manifest import Manifest
from semiovs.images.record import Record
from semiovs.select.decision import CHOSEN, LEAK, REASONS, shuffle_keys
from semiovs.select.scan_table import PoolEntry
from semiovs.select.selection import Selection, locate_entry
from semiovs.similarity.copies import KINDS

#: Images of each reason that are shown.
_SHOWN = 8


@dataclass(frozen=True)
class ExampleImage:
    """An image for the page. reason: why it was dropped ("" for a chosen one); of, of_image: what it is a copy of."""

    id: str
    image: Path
    reason: str
    kind: str = ""
    of: str = ""
    of_image: Path | None = None


@dataclass(frozen=True)
class WrittenSelection:
    """Result of `write_selection`. data: content of select.json; chosen, dropped: example images."""

    data: dict[str, Any]
    chosen: list[ExampleImage]
    dropped: dict[str, list[ExampleImage]]


def write_selection(out: Path, found: Selection, facts: Mapping[str, Any], shown: int = 24) -> WrittenSelection:
    """Write manifest.jsonl, dropped.jsonl and select.json into `out`; facts: further content of select.json."""
    decision = found.decision
    named = _find_originals(found)
    chosen: dict[int, Record] = {}
    examples: dict[str, list[ExampleImage]] = {}
    shown_rows = _choose_examples(found)
    with atomic_write(out / "dropped.jsonl") as file:
        for row, image, why in found.texts():
            if decision.reason[row] == CHOSEN and isinstance(image, Record):
                chosen[row] = replace(image, sha256=bytes(found.rows.digest[row]).hex())
                continue
            line = _make_line(found, named, row, image, why)
            file.write(json.dumps(line, ensure_ascii=False).encode(errors="replace") + b"\n")
            if row in shown_rows and isinstance(image, Record) and not why:
                examples.setdefault(line["reason"], []).append(_make_example(line))
    manifest = Manifest((chosen[row] for row in decision.order.tolist()), out)
    manifest.write_jsonl(out / "manifest.jsonl")
    sources = Counter(record.source or "not said" for record in manifest)
    data = _make_summary(found, manifest, facts) | {"sources": dict(sources.most_common(50))}
    data["files"] = {name: sha256_of(out / name) for name in ("manifest.jsonl", "dropped.jsonl")}
    write_json(out / "select.json", data)
    count = len(manifest)
    spread = sorted({place * count // shown for place in range(shown)}) if count else []
    return WrittenSelection(data, [ExampleImage(manifest[i].id, manifest[i].image, "") for i in spread], examples)


def _choose_examples(found: Selection) -> set[int]:
    """A few random rows of each reason."""
    order = np.argsort(shuffle_keys(found.rows.key, 0), kind="stable")
    reasons = found.decision.reason[order]
    return {row for reason in range(len(REASONS)) for row in order[reasons == reason][:_SHOWN].tolist()}


def _find_originals(found: Selection) -> dict[int, PoolEntry]:
    """Images of the pool that others are copies of, by row."""
    decision = found.decision
    of = decision.of[(decision.of >= 0) & (decision.reason != LEAK)]
    wanted = np.zeros(len(decision.reason), bool)
    wanted[of] = wanted[decision.via[decision.via >= 0]] = True
    if not wanted.any():
        return {}
    return {row: image for row, image, _ in found.texts() if wanted[row]}


def _make_line(
    found: Selection, named: Mapping[int, PoolEntry], row: int, image: PoolEntry, why: str
) -> dict[str, str]:
    decision = found.decision
    identifier, path = locate_entry(image)
    line = {"id": identifier, "image": path, "reason": REASONS[decision.reason[row]]}
    if decision.kind[row]:
        line["kind"] = KINDS[int(decision.kind[row])]
    of, via = int(decision.of[row]), int(decision.via[row])
    if decision.reason[row] == LEAK:
        reference = found.references[of]
        line |= {"of": reference.id, "of_image": str(reference.image), "role": reference.role}
        if via >= 0:
            line["via"] = locate_entry(named[via])[0]
    elif of >= 0:
        line["of"], line["of_image"] = locate_entry(named[of])
    return line | ({"why": why} if why else {})


def _make_example(line: Mapping[str, str]) -> ExampleImage:
    of_image = Path(line["of_image"]) if "of_image" in line else None
    kind = " ".join(filter(None, (line.get("kind"), line.get("role"))))
    return ExampleImage(line["id"], Path(line["image"]), line["reason"], kind, line.get("of", ""), of_image)


def _make_summary(found: Selection, manifest: Manifest, facts: Mapping[str, Any]) -> dict[str, Any]:
    counts, decision = found.counts(), found.decision
    kinds = {
        reason: {
            name: int(((decision.reason == place) & (decision.kind == kind)).sum()) for kind, name in KINDS.items()
        }
        for place, reason in enumerate(REASONS)
        if reason in {"leak", "duplicate"}
    }
    leaks = Counter(found.references[of].role for of in decision.of[decision.reason == LEAK].tolist())
    request = found.request
    return {
        "listed": found.listed,
        "chosen": counts["chosen"],
        "dropped": {name: count for name, count in counts.items() if name not in {"chosen", "unreadable"}},
        "unreadable": counts["unreadable"],
        "kinds": kinds,
        "leaks_of": {role: leaks[role] for role in request.against},
        "leaks_chosen": len(decision.leaks),
        "references": {role: len(images) for role, images in request.against.items()},
        "references_unreadable": found.unread,
        "classes": found.by_class(),
        "thresholds": [t.as_json() for t in found.thresholds if t.name in request.targets] if found.by_class() else [],
        "calibrated_on": found.calibrated_on,
        "licenses": {name or "not said": count for name, count in found.licenses.most_common()},
        "without_license": found.licenses[""],
        "licenses_allowed": list(request.licenses),
        "rules": asdict(request.rules) | {"recall": request.recall, "targets": list(request.targets)},
        "manifest": manifest.hash,
        "bytes_an_image": found.rows.bytes_each,
        "seconds": {name: round(value, 3) for name, value in found.seconds.items()},
        **facts,
    }
