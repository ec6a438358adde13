"""Embeddings of pieces of speech grouped by voice: agglomerative clustering, average linkage."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voicetone.errors import DataError
from voicetone.types import Floats

MOST_AT_ONCE = 3000  # embeddings whose distances are all compared: 72 MB
MOST_VOICES = 8
_STRAYS = 4  # groups of too little weight that are looked past
_ROUNDS = 20
_TINY = 1e-12

Numbers = NDArray[np.intp]
Wide = NDArray[np.float64]


def clusters(
    embeddings: Floats,
    *,
    threshold: float,
    count: int | None = None,
    most: int = MOST_VOICES,
    weights: Wide | None = None,
    least: float = 0.0,
) -> Numbers:
    """The voice of each embedding: numbers from 0 `[n]`, in order of appearance.

    What all of them share (a room, a telephone, being speech at all) is taken off first: their
    mean. The rest, of unit length, is grouped by average linkage, and each then goes to the group
    whose mean is nearest until nothing changes. Where the number of voices is not told, there are
    as many as can be told apart: one more as long as in no pair of groups the mean cosine of the
    embeddings as they came reaches `threshold`.

    Of more than 3000 embeddings as many, evenly spread, are grouped so, and the others go to the
    group whose mean is nearest.

    Args:
        embeddings: `[n, size]` of unit length.
        threshold: of the cosine; without meaning where `count` is given.
        count: how many voices, if that is known; fewer may be found.
        most: voices there may be at most, where it is not.
        weights: seconds of each `[n]`; 1 if not given.
        least: a group with less than this weight is no voice, and goes to the nearest.

    Raises:
        DataError: embeddings of another shape or that hold no numbers, or a count out of range.
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise DataError(f"embeddings of shape {list(rows.shape)}: give finite numbers [n, size]")
    for number in (most, 1 if count is None else count):
        if not 1 <= number <= MOST_VOICES:
            raise DataError(f"{number} voices to find: give 1 to {MOST_VOICES}")
    weight = np.ones(len(rows)) if weights is None else np.asarray(weights, dtype=np.float64)
    if len(rows) <= 1 or count == 1 or (count is None and most == 1):
        return np.zeros(len(rows), dtype=np.intp)
    some = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_AT_ONCE)).astype(np.intp))
    plain, centred = rows[some], _unit(rows[some] - rows[some].mean(axis=0))
    tree = _merges(centred)
    last = min(len(some), (most if count is None else count) + _STRAYS)
    best = np.zeros(len(some), dtype=np.intp)
    for k in range(2, last + 1):
        labels = _absorbed(
            centred, _refined(centred, _cut(len(some), *tree, k)), weight[some], least
        )
        voices = int(labels.max()) + 1
        if voices > (most if count is None else count):
            break
        if count is None and voices > 1 and likeness(plain, labels) >= threshold:
            break
        if voices > best.max() + 1:
            best = labels
        if voices == count:
            break
    if len(some) < len(rows):
        best = _nearest(_unit(rows - plain.mean(axis=0)), _means(centred, best))
    return in_order(best)


def likeness(embeddings: Floats | Wide, labels: Numbers) -> float:
    """The mean cosine between the members of the two groups that are most alike.

    Args:
        embeddings: `[n, size]` of unit length.
        labels: of the groups `[n]`, from 0 without gaps; two at least.
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    means = np.stack([rows[labels == k].mean(axis=0) for k in range(int(labels.max()) + 1)])
    between = means @ means.T
    return float(between[np.triu_indices(len(means), 1)].max())


def _unit(rows: Wide) -> Wide:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _TINY))


def _means(rows: Wide, labels: Numbers) -> Wide:
    return _unit(np.stack([rows[labels == k].mean(axis=0) for k in np.unique(labels)]))


def _nearest(rows: Wide, means: Wide) -> Numbers:
    return np.asarray((rows @ means.T).argmax(axis=1), dtype=np.intp)


def _refined(rows: Wide, labels: Numbers) -> Numbers:
    """Each row in the group whose mean is nearest; numbers from 0 without gaps."""
    for _ in range(_ROUNDS):
        labels, before = _nearest(rows, _means(rows, labels)), labels
        if (labels == before).all():
            break
    return in_order(labels)


def _absorbed(rows: Wide, labels: Numbers, weights: Wide, least: float) -> Numbers:
    """Groups of too little weight gone to the nearest of the others; the heaviest stays."""
    amount = np.bincount(labels, weights)
    large = amount >= min(least, float(amount.max()))
    stray = ~large[labels]
    if not stray.any():
        return labels
    kept = in_order(labels[~stray])
    out = np.zeros(len(labels), dtype=np.intp)
    out[~stray] = kept
    out[stray] = _nearest(rows[stray], _means(rows[~stray], kept))
    return out


def in_order(labels: Numbers) -> Numbers:
    """The same groups, numbered from 0 in order of appearance."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse], dtype=np.intp)


def _merges(rows: Wide) -> tuple[Wide, NDArray[np.intp]]:
    """Merges: heights (1 - mean cosine) `[n - 1]`, and a member of each side `[n - 1, 2]`.

    By chains of nearest neighbours (Murtagh, The Computer Journal 26(4), 1983), which give the
    same tree as the search for the closest pair, in the square of n.
    """
    apart = 1.0 - rows @ rows.T
    np.fill_diagonal(apart, np.inf)
    sizes = np.ones(len(rows))
    alive = np.ones(len(rows), dtype=np.bool_)
    heights, pairs = [], []
    chain: list[int] = []
    for _ in range(len(rows) - 1):
        if not chain:
            chain.append(int(np.flatnonzero(alive)[0]))
        while True:
            top = chain[-1]
            near = int(apart[top].argmin())
            if len(chain) > 1 and apart[top, chain[-2]] <= apart[top, near]:
                break
            chain.append(near)
        b, a = chain.pop(), chain.pop()
        heights.append(float(apart[a, b]))
        pairs.append((a, b))
        joined = (sizes[a] * apart[a] + sizes[b] * apart[b]) / (sizes[a] + sizes[b])
        joined[[a, b]] = np.inf
        apart[a] = apart[:, a] = joined
        apart[b] = apart[:, b] = np.inf
        sizes[a] += sizes[b]
        alive[b] = False
    return np.array(heights), np.array(pairs, dtype=np.intp)


def _cut(n: int, heights: Wide, pairs: Numbers, count: int) -> Numbers:
    """The `count` groups that are left when the lowest merges are done, from 0 without gaps."""
    order = np.argsort(heights, kind="stable")
    owner = np.arange(n)
    for a, b in pairs[order[: n - count]]:
        owner[owner == owner[b]] = owner[a]
    return in_order(owner)
