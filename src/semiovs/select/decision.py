"""Decide about each image of a pool: chosen, or the reason why not. A pure function of rows, seed and rules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from semiovs.select.class_balance import choose_balanced
from semiovs.select.scan_table import READ, UNANSWERED, UNREADABLE, ScanRows
from semiovs.similarity.copies import Copies, find_copies_of, find_copies_within
from semiovs.similarity.descriptor import subtract_mean
from semiovs.similarity.hashes import RADIUS
from semiovs.similarity.neighbors import Places

#: Cosine from which on two images count as copies: of the built-in descriptors, and of a trained encoder.
NEAR, NEAR_BY_ENCODER = 0.95, 0.9

Rule = Literal["balanced", "paper"]

#: Outcomes for an image, in the order in which they are checked.
CHOSEN, UNREAD, NO_ANSWER, REPEATED, LICENSE, LEAK, OFF_TOPIC, DUPLICATE, BUDGET = range(9)
REASONS = (
    "chosen", "unreadable", "no answer", "repeated id", "license", "leak", "off-topic", "duplicate", "over budget"
)  # fmt: skip


@dataclass(frozen=True)
class SelectionRules:
    """How to choose.

    rule: ``balanced`` (everything below) or ``paper`` (each image in which any pixel has a target class, as SemiOVS's
    list was probably made: nothing is dropped for being double or a leak); budget: images, None: all; near: cosine of
    copies; radius: bits of copies' hashes.
    """

    budget: int | None = None
    seed: int = 0
    rule: Rule = "balanced"
    near: float = NEAR
    radius: int = RADIUS


@dataclass(frozen=True)
class Decision:
    """Result of `decide`, one row per image.

    reason: (N,) place in `REASONS`; kind: (N,) of copy, 0 for none; of: (N,) row that it is a copy of, -1 for none: for
    leaks a row of the references, else of the pool; via: (N,) for leaks that were recognised by another leak, the
    pool's row of that one; order: rows of the chosen in the order of choice; present: (N, T) targets that are shown;
    leaks: leaks that were chosen all the same.
    """

    reason: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    of: Places
    via: Places
    order: Places
    chosen_for: Places
    present: NDArray[np.bool_]
    leaks: Places

    def count(self, reason: int) -> int:
        """Images of a reason."""
        return int((self.reason == reason).sum())


def decide(
    rows: ScanRows,
    references: ScanRows,
    allowed: NDArray[np.bool_],
    levels: NDArray[np.uint8],
    targets: Places,
    rules: SelectionRules,
) -> Decision:
    """Decide about each image of a pool.

    references: images that must not be among the chosen ones; allowed: (N,) whose license will do; levels: (K,) from
    which presence on a class counts; targets: classes that are wanted. Rows without presence columns all count as on
    topic.
    """
    state = _DecisionState(rows, references, rules)
    state.drop(rows.status == UNREADABLE, UNREAD)
    state.drop(rows.status == UNANSWERED, NO_ANSWER)
    state.drop(_find_repeated_ids(rows), REPEATED)
    state.drop(~allowed, LICENSE)
    leaks = state.find_leaks()
    present = _find_present_classes(rows, levels, targets, rules.rule)
    if rules.rule == "balanced":
        state.mark_leaks(leaks)
    state.drop(np.asarray(~present.any(axis=1)), OFF_TOPIC)
    if rules.rule == "balanced":
        state.mark_copies()
    order, chosen_for = state.choose(present)
    chosen_leaks = np.intersect1d(order, np.flatnonzero(leaks.of >= 0))
    return Decision(state.reason, state.kind, state.of, state.via, order, chosen_for, present, chosen_leaks)


class _DecisionState:
    """Reasons while they are being determined; 255 = not decided yet."""

    def __init__(self, rows: ScanRows, references: ScanRows, rules: SelectionRules) -> None:
        if rows.embedding.shape[1]:
            known = rows.embedding[rows.status == READ]
            references = replace(references, embedding=subtract_mean(references.embedding, known))
            rows = replace(rows, embedding=subtract_mean(rows.embedding, known))
        self.rows, self.references, self.rules = rows, references, rules
        count = len(rows)
        self.reason = np.full(count, 255, np.uint8)
        self.kind = np.zeros(count, np.uint8)
        self.of, self.via = np.full((2, count), -1, np.int64)

    @property
    def open(self) -> Places:
        """Rows that are not decided yet."""
        return np.flatnonzero(self.reason == 255)

    def drop(self, which: NDArray[np.bool_], reason: int) -> None:
        self.reason[which & (self.reason == 255)] = reason

    def find_leaks(self) -> Copies:
        """Find copies of references among the undecided rows; indices are those of all rows."""
        count = len(self.rows)
        found = Copies(np.full(count, -1), np.zeros(count, np.uint8))
        left = self.open
        part = find_copies_of(
            self.rows.fingerprints[left],
            self.references.fingerprints,
            radius=self.rules.radius,
            threshold=self.rules.near,
        )
        found.of[left], found.kind[left] = part.of, part.kind
        return found

    def mark_leaks(self, leaks: Copies) -> None:
        hit = leaks.of >= 0
        self.reason[hit], self.of[hit], self.kind[hit] = LEAK, leaks.of[hit], leaks.kind[hit]

    def mark_copies(self) -> None:
        """Mark copies among the undecided rows: most pixels stay, then the largest file. Copies of leaks are leaks."""
        open_, leaks = self.open, np.flatnonzero(self.reason == LEAK)
        sizes = self.rows.size[open_].astype(np.int64)
        open_ = open_[np.lexsort((self.rows.key[open_], -sizes[:, 2], -sizes[:, 0] * sizes[:, 1]))]
        leaks = leaks[np.argsort(self.rows.key[leaks], kind="stable")]
        rows = np.concatenate([leaks, open_])
        found = find_copies_within(self.rows.fingerprints[rows], radius=self.rules.radius, threshold=self.rules.near)
        places = np.flatnonzero(found.of >= 0)
        places = places[places >= len(leaks)]
        copies, originals = rows[places], rows[found.of[places]]
        leaked = self.reason[originals] == LEAK
        self.kind[copies] = found.kind[places]
        self.reason[copies] = np.where(leaked, LEAK, DUPLICATE)
        self.of[copies] = np.where(leaked, self.of[originals], originals)
        self.via[copies] = np.where(leaked, originals, -1)

    def choose(self, present: NDArray[np.bool_]) -> tuple[Places, Places]:
        left = self.open
        left = left[np.argsort(shuffle_keys(self.rows.key[left], self.rules.seed), kind="stable")]
        budget = len(left) if self.rules.budget is None else self.rules.budget
        if self.rules.rule == "paper" or budget >= len(left):
            order = left[:budget]
            chosen_for = np.full(len(order), -1)
        else:
            places, chosen_for = choose_balanced(present[left], self.rows.fingerprints.embedding[left], budget)
            order = left[places]
        self.reason[left] = BUDGET
        self.reason[order] = CHOSEN
        return order, chosen_for


def shuffle_keys(keys: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """64-bit numbers by which rows are put into a random order (the finaliser of SplitMix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        mixed = keys + np.uint64((seed * 0x9E3779B97F4A7C15) % 2**64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def _find_repeated_ids(rows: ScanRows) -> NDArray[np.bool_]:
    """Readable rows whose id occurs more than once; the row with the smallest digest stays."""
    read = np.flatnonzero(rows.status == READ)
    digests = rows.digest[read, :8].copy().view(np.uint64).ravel()
    read = read[np.lexsort((digests, rows.key[read]))]
    again = np.zeros(len(rows), bool)
    again[read[1:]] = rows.key[read[1:]] == rows.key[read[:-1]]
    return again


def _find_present_classes(rows: ScanRows, levels: NDArray[np.uint8], targets: Places, rule: Rule) -> NDArray[np.bool_]:
    if not rows.presence.shape[1]:
        return np.ones((len(rows), 1), bool)
    if rule == "paper":
        return np.unpackbits(rows.seen, axis=1)[:, targets].astype(bool)
    return np.asarray(rows.presence[:, targets] >= np.maximum(levels[targets], 1))
