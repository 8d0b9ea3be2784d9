"""Archives of `torch.export` (.pt2); the one place that opens them."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from semiovs.errors import WeightsError
from semiovs.files import parse_json
from semiovs.models.exported.runtime import CONFIDENCE, LABELS, LOGITS, cannot_read, decode_facts

#: Name of the facts among the extra files of an archive.
FACTS_FILE = "semiovs.json"
_PICKLED = re.compile(rb'"use_pickle"\s*:\s*true')


class TorchArchive:
    """An exported program on the CPU, in as many threads as torch takes."""

    def __init__(self, program: Any, facts: dict[str, Any]) -> None:
        self.facts = facts
        self._module: fx.GraphModule = program.module()
        self._raw = facts["outputs"] == [LOGITS]

    @torch.inference_mode()
    def answer(self, image: NDArray[Any], names: Sequence[str]) -> list[NDArray[Any]]:
        """As `Runtime.answer`."""
        given = torch.from_numpy(image)
        if self._raw:
            found = {LOGITS: self._module(given)}
        elif LOGITS in names:
            inside = _Inside(self._module)
            found = dict(zip((LABELS, CONFIDENCE), inside.run(given), strict=True))
            found[LOGITS] = inside.logits
        else:
            found = dict(zip((LABELS, CONFIDENCE), self._module(given), strict=True))
        return [found[name].numpy() for name in names]


class _Inside(fx.Interpreter):
    """Runs a program and keeps the tensor that its labels are the argmax of."""

    logits: Tensor

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        (out,) = (node for node in module.graph.nodes if node.op == "output")
        node = out.args[0][0]
        while "argmax" not in str(node.target):
            node = node.args[0]
        self._wanted = node.args[0]

    def run_node(self, n: fx.Node) -> Any:
        found = super().run_node(n)
        if n is self._wanted:
            self.logits = found
        return found


def read_file(path: Path, *, threads: int | None = None) -> TorchArchive:  # noqa: ARG001 - torch's are the process's
    """Open a file; one whose weights are pickled objects is refused.

    Raises:
        WeightsError: damaged, or not ours.
    """
    facts = read_facts(path)
    try:
        return TorchArchive(torch.export.load(path), facts)
    except Exception as error:  # torch's own kinds
        raise cannot_read(path, error) from None


def read_facts(path: Path) -> dict[str, Any]:
    """The facts alone, in milliseconds; the program, which takes a second, is not built.

    Raises:
        WeightsError: damaged, or not ours.
    """
    try:
        texts = _read_texts(path)
    except WeightsError:
        raise
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise cannot_read(path, error) from None
    return decode_facts(texts, path)


def _read_texts(path: Path) -> dict[str, str]:
    """The facts; an archive with pickled objects, which could be code, is refused."""
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"the checksum of {damaged} in it is wrong")
        names = archive.namelist()
        for name in names:
            if name.endswith("_config.json") and _PICKLED.search(archive.read(name)):
                raise WeightsError(f"{path}: holds pickled objects, which are not opened; export the run again")
        found = next((name for name in names if name.rpartition("/")[2] == FACTS_FILE), None)
        texts = {} if found is None else parse_json(archive.read(found))
    return texts if isinstance(texts, dict) else {}
