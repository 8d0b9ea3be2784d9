"""Made-up published lists: a catalogue over given texts, and their files in the places where repositories have them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from semiovs.datasets.splits import Catalogue

REPOSITORIES = {
    "one": {"repository": "someone/one", "commit": "a" * 40, "folder": "splits", "licence": "MIT", "cite": "One 2020"},
    "two": {
        "repository": "someone/two",
        "commit": "b" * 40,
        "folder": "semi/splits",
        "licence": "MIT",
        "cite": "Two 2021",
    },
}
NAMES = {
    "pascal": ("voc", "voc21"),
    "cityscapes": ("cityscapes", "cityscapes19"),
    "coco": ("coco", "coco81"),
    "ade20k": ("ade20k", "ade150"),
    "ade20k-v2": ("ade20k", "ade150"),
    "pc60": ("context", "context60"),
}


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def catalogue_of(texts: Mapping[str, str]) -> Catalogue:
    """A catalogue that knows exactly these lists; all are in repository one, those with 'v2' in two."""
    lists = {}
    for name, text in texts.items():
        lines = text.removesuffix("\n").split("\n")
        lists[name] = {
            "count": len(lines), "sha256": sha(text), "canonical": sha("\n".join(lines)), "sorted": sha("\n".join(sorted(lines))),
            "in": ["two"] if "v2" in name else ["one"],
        }  # fmt: skip
    datasets = {
        key: {
            "what": key,
            "name": name,
            "classes": classes,
            "universe": 4,
            **({"path": "ade20k"} if "v2" in key else {}),
        }
        for key, (name, classes) in NAMES.items()
    }
    return Catalogue.of({"repositories": REPOSITORIES, "datasets": datasets, "lists": lists})


def write_lists(folder: Path, texts: Mapping[str, str], inner: str = "clone/splits") -> Path:
    for name, text in texts.items():
        path = folder / inner / name.replace("ade20k-v2/", "ade20k/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return folder
