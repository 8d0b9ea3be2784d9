"""Centres of classes among the features of cells: means and k-means, and how sure a cosine makes."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from semiovs.errors import DataError
from semiovs.ovs.class_cells import Floats, ImageCells
from semiovs.similarity.groups import assign_folds

Exact = NDArray[np.float64]

#: Share of the unit matrix in the covariance within the classes.
SHRINKAGE = 0.1
#: Temperatures that are tried, and the one that is taken where no image can be left out.
TEMPERATURES = (0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0)
_DEFAULT = 0.1
#: Parts of the labelled images that are left out in turn.
_FOLDS = 5
#: Cells of a class that k-means sees at most.
_MOST = 8192


@dataclass(frozen=True)
class ClassCentres:
    """Centres of K classes among C features.

    shift (C,), whiten (C, C): features x are compared as the direction of (x - shift) · whiten; centres: (P, C) of
    length 1; owners: (P,) class of each, ascending; images, labeled: how many images they come from, and the hash of
    images and masks.
    """

    names: tuple[str, ...]
    shift: Floats
    whiten: Floats
    centres: Floats
    owners: NDArray[np.int64]
    temperature: float
    images: int
    labeled: str

    def describe(self) -> dict[str, Any]:
        """Plain data."""
        digest = hashlib.sha256(self.centres.tobytes() + self.owners.tobytes()).hexdigest()[:16]
        lacking = [name for k, name in enumerate(self.names) if k not in self.owners]
        return {
            "images": self.images,
            "labeled": self.labeled,
            "centres": digest,
            "temperature": self.temperature,
            **({"without_labels": lacking} if lacking else {}),
        }

    def compute_scores(self, features: Tensor) -> Tensor:
        """Features (C, h, w) -> scores (K, h, w): softmax over the classes that have centres, 0 for the others."""
        best = self.compute_cosines(features.flatten(1).T.float())
        scores: Tensor = (best / self.temperature).softmax(dim=1).T.reshape(-1, *features.shape[-2:])
        return scores.contiguous()

    def compute_cosines(self, rows: Tensor) -> Tensor:
        """Features (n, C) -> largest cosine to a centre of each class (n, K); -inf for classes without centres."""
        shift, whiten, centres = (
            torch.from_numpy(part).to(rows.device) for part in (self.shift, self.whiten, self.centres)
        )
        return self._find_best(F.normalize((rows - shift) @ whiten, dim=1) @ centres.T)

    def _find_best(self, cosines: Tensor) -> Tensor:
        best = cosines.new_full((len(cosines), len(self.names)), -torch.inf)
        owners = torch.from_numpy(self.owners).to(cosines.device)
        return best.scatter_reduce(1, owners.expand(len(cosines), -1), cosines, "amax")


def fit_centres(
    cells: Sequence[ImageCells], names: Sequence[str], count: int, temperature: float | None
) -> ClassCentres:
    """Centres of each class: its mean, and `count` by k-means; temperature: None: chosen on images left out in turn.

    Features are whitened by their covariance within the classes, so that a direction in which cells of one class differ
    as much as others says little (Fisher 1936); shrunk towards the standardised features (Ledoit and Wolf 2004), by a
    constant share.

    Raises:
        DataError: no image shows a class.
    """
    if not any(one.of_class for one in cells):
        raise DataError(
            f"teacher 'prototypes' has nothing to learn from: no class in the masks of {len(cells)} labelled images"
        )
    fitted = _fit(cells, tuple(names), count, temperature or _DEFAULT)
    if temperature is not None:
        return fitted
    return replace(fitted, temperature=_choose_temperature(cells, fitted.names, count))


def _fit(cells: Sequence[ImageCells], names: tuple[str, ...], count: int, temperature: float) -> ClassCentres:
    there = [k for k in range(len(names)) if sum(one.covered[k] for one in cells) > 0]
    means = np.stack([_sum(one.weighted[k] for one in cells) / _sum(one.covered[k] for one in cells) for k in there])
    rows = [np.concatenate([one.of_class[k] for one in cells if k in one.of_class]) for k in there]
    shift, whiten = means.mean(axis=0), _find_whitening(cells, rows)
    found: list[tuple[int, Floats]] = []
    for k, mean, own in zip(there, means, rows, strict=True):
        found.append((k, _normalize((mean[None] - shift) @ whiten)))
        found.append((k, _cluster(_normalize((own - shift) @ whiten), count)))
    return ClassCentres(
        names,
        shift.astype(np.float32),
        whiten.astype(np.float32),
        np.concatenate([centres for _, centres in found]),
        np.concatenate([np.full(len(centres), k) for k, centres in found]),
        temperature,
        len({one.id for one in cells}),
        hashlib.sha256(b"".join(sorted(one.digest for one in cells))).hexdigest()[:16],
    )


def _find_whitening(cells: Sequence[ImageCells], rows: Sequence[Floats]) -> Exact:
    """(C, C) from features to ones whose covariance within the classes is the unit matrix, but for `SHRINKAGE`.

    rows: (n, C) of each class.
    """
    total = sum(one.cells for one in cells)
    mean = _sum(one.sum for one in cells) / total
    spread = np.sqrt(np.maximum(_sum(one.square for one in cells) / total - np.square(mean), 0))
    scale = np.where(spread > 1e-6 * float(spread.max()), 1 / np.maximum(spread, 1e-30), 0)  # a constant says nothing
    apart = np.concatenate([(own - own.mean(axis=0, dtype=np.float64)) * scale for own in rows])
    within = apart.T @ apart / len(apart)
    level = max(float(np.diagonal(within).mean()), 1e-6)
    shrunk = (1 - SHRINKAGE) * within + SHRINKAGE * level * np.eye(len(within))
    whiten: Exact = scale[:, None] * np.linalg.inv(np.linalg.cholesky(shrunk)).T
    return whiten


def _cluster(rows: Floats, count: int) -> Floats:
    """Centres (n, C) of length 1 by k-means, at most `count`; always the same for the same rows."""
    from scipy.cluster.vq import kmeans2

    rows = rows[:: -(-len(rows) // _MOST)]
    distinct = len(np.unique(rows, axis=0))
    if count == 0 or distinct <= 1:
        return rows[:0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a cluster that loses its last row stays where it was
        centres, _ = kmeans2(rows, min(count, distinct), iter=20, minit="++", seed=0)
    return _normalize(centres)


def _choose_temperature(cells: Sequence[ImageCells], names: tuple[str, ...], count: int) -> float:
    """The temperature at which the classes of left-out cells are most probable (log loss)."""
    folds = assign_folds([one.unit for one in cells], _FOLDS)
    if folds.max(initial=0) == 0:
        return _DEFAULT
    loss = np.zeros(len(TEMPERATURES))
    for fold in range(folds.max() + 1):
        rest = [one for one, at in zip(cells, folds, strict=True) if at != fold]
        left = [one for one, at in zip(cells, folds, strict=True) if at == fold]
        if any(one.of_class for one in rest):
            fitted = _fit(rest, names, count, _DEFAULT)
            rows, shares = np.concatenate([one.drawn for one in left]), np.concatenate([one.shares for one in left])
            loss += _measure_loss(fitted, rows, shares)
    return TEMPERATURES[int(np.argmin(loss))]


def _measure_loss(fitted: ClassCentres, rows: Floats, shares: Floats) -> NDArray[np.float64]:
    """Log loss of cells at each temperature, summed over the parts of the classes that have centres."""
    there = np.unique(fitted.owners)
    cosines, parts = fitted.compute_cosines(torch.from_numpy(rows))[:, there], torch.from_numpy(shares[:, there])
    return np.array([-float(((cosines / t).log_softmax(dim=1) * parts).sum()) for t in TEMPERATURES])


def _normalize(rows: NDArray[Any]) -> Floats:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1e-12), np.float32)


def _sum(parts: Iterable[Any]) -> Any:
    return np.sum(list(parts), axis=0)
