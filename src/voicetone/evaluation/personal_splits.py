"""Which of a speaker's clips are enrolment and which are tested, drawn by a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voicetone.evaluation.table import Bools, Ints

ALIKE = "as they come"
HALF = "half of one label"
ONE = "all of one label"
CALL = "call of one tone"
LABELLED = "labelled"
UNLABELLED = (ALIKE, HALF, ONE, CALL)
"""Kinds of enrolment without labels. In all but `CALL` the tested clips are the other half, in
which a speaker's labels are as frequent as in the corpus; in `CALL` half of them are of the label
that half of the enrolment is of."""
NONE = -1
"""A place that a speaker has no clip for."""


@dataclass(frozen=True, eq=False)
class Split:
    """Each speaker's clips in two halves, with as much of each label in both as there is.

    Args:
        tested: clips of the one half `[n]`.
        of_call: those of them that are tested in `CALL` `[n]`.
        orders: of the other half, per kind of enrolment without labels: `[speakers, most]`,
            places of clips in the order in which they are given, then `NONE`.
        by_label: for labelled enrolment, `[speakers, labels, most]` likewise.
        wrong: of each speaker another one `[speakers]`, for the control.
    """

    tested: Bools
    of_call: Bools
    orders: dict[str, Ints]
    by_label: Ints
    wrong: Ints

    def judged(self, kind: str) -> Bools:
        """The clips that are tested after this kind of enrolment `[n]`."""
        return self.of_call if kind == CALL else self.tested

    def enrolment(self, kind: str, amount: int) -> Ints:
        """Places of the clips `[speakers, clips]`: `amount` of them, or per label if labelled."""
        if kind == LABELLED:
            chosen = self.by_label[:, :, :amount]
            return chosen.reshape(len(chosen), -1)
        return self.orders[kind][:, :amount]


def make_splits(truth: Ints, speakers: Ints, labels: int, number: int, seed: int) -> list[Split]:
    """Several splits; the same seed gives the same.

    Args:
        truth: label of each clip, as places `[n]`.
        speakers: of each clip, numbered from 0 without gaps `[n]`.
        labels: how many.
        number: of splits.
        seed: of the draws.
    """
    return [
        _split(truth, speakers, labels, np.random.default_rng((seed, k))) for k in range(number)
    ]


def _split(truth: Ints, speakers: Ints, labels: int, rng: np.random.Generator) -> Split:
    tested = np.zeros(len(truth), dtype=bool)
    of_call = tested.copy()
    orders: dict[str, list[Ints]] = {kind: [] for kind in UNLABELLED}
    by_label = []
    number = int(speakers.max()) + 1
    for who in range(number):
        own = np.flatnonzero(speakers == who)
        pools, tests = [], []
        for label in range(labels):
            drawn = rng.permutation(own[truth[own] == label])
            half = (len(drawn) + int(rng.integers(2))) // 2  # odd ones go either way
            pools.append(drawn[:half])
            tests.append(drawn[half:])
        tested[np.concatenate(tests)] = True
        by_label.append(pools)
        orders[ALIKE].append(rng.permutation(np.concatenate(pools)))
        one = int(rng.choice([k for k, pool in enumerate(pools) if len(pool)] or [0]))
        orders[HALF].append(np.concatenate(_by_turns(pools, one, rng)))
        orders[ONE].append(pools[one])
        orders[CALL].append(orders[HALF][-1])
        of_call[_by_turns(tests, one, rng)[0]] = True
    return Split(
        tested,
        of_call,
        {kind: _padded(given) for kind, given in orders.items()},
        _padded_labels(by_label),
        _another(number, rng),
    )


def _by_turns(pools: Sequence[Ints], one: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Clips of one label and of the others by turns, as far as both go; then the rest."""
    others = rng.permutation(np.concatenate([p for k, p in enumerate(pools) if k != one]))
    turns = min(len(pools[one]), len(others))
    mixed = np.stack([pools[one][:turns], others[:turns]], axis=1).ravel()
    return mixed, np.concatenate([pools[one][turns:], others[turns:]])


def _padded(orders: Sequence[Ints]) -> Ints:
    most = max(map(len, orders))
    return np.array([[*o, *[NONE] * (most - len(o))] for o in orders], dtype=np.int64)


def _padded_labels(pools: Sequence[Sequence[Ints]]) -> Ints:
    most = max(len(pool) for each in pools for pool in each)
    rows = [[[*p, *[NONE] * (most - len(p))] for p in each] for each in pools]
    return np.array(rows, dtype=np.int64)


def _another(speakers: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """For each speaker the next one in a random circle."""
    circle = rng.permutation(speakers)
    found = np.empty(speakers, dtype=np.int64)
    found[circle] = np.roll(circle, -1)
    return found
