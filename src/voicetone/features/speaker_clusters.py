"""Embeddings of pieces of speech grouped by voice: agglomerative clustering, average linkage."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voicetone.errors import DataError
from voicetone.types import Floats

MOST_AT_ONCE = 3000  # embeddings whose distances are all compared: 72 MB
MOST_VOICES = 8

Numbers = NDArray[np.intp]
Wide = NDArray[np.float64]


def clusters(
    embeddings: Floats, *, threshold: float, count: int | None = None, most: int = MOST_VOICES
) -> Numbers:
    """The voice of each embedding: numbers from 0 `[n]`, in order of appearance.

    Two groups are one voice as long as the mean cosine between their members is at least
    `threshold`. Of more than 3000 embeddings as many, evenly spread, are grouped so, and the
    others go to the group whose mean is nearest.

    Args:
        embeddings: `[n, size]` of unit length.
        threshold: of the cosine; without meaning where `count` is given.
        count: how many voices, if that is known; fewer where there are fewer embeddings.
        most: voices there may be at most, where it is not.

    Raises:
        DataError: embeddings of another shape or that hold no numbers, or a count out of range.
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise DataError(f"embeddings of shape {list(rows.shape)}: give finite numbers [n, size]")
    if not 1 <= (count or 1) <= MOST_VOICES or not 1 <= most <= MOST_VOICES or count == 0:
        raise DataError(f"{count or most} voices: give 1 to {MOST_VOICES}")
    if len(rows) <= 1:
        return np.zeros(len(rows), dtype=np.intp)
    some = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_AT_ONCE)).astype(np.intp))
    labels = _cut(len(some), *_merges(rows[some]), threshold, count, most)
    if len(some) < len(rows):
        means = np.stack([rows[some][labels == k].mean(0) for k in range(labels.max() + 1)])
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        labels = (rows @ means.T).argmax(1)
    return in_order(labels)


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


def _cut(
    n: int, heights: Wide, pairs: Numbers, threshold: float, count: int | None, most: int
) -> Numbers:
    """The groups that are left when the merges up to the threshold, or to a number, are done."""
    order = np.argsort(heights, kind="stable")
    if count is None:
        done = max(int((heights <= 1.0 - threshold).sum()), n - most)
    else:
        done = max(n - count, 0)
    owner = np.arange(n)
    for a, b in pairs[order[:done]]:
        owner[owner == owner[b]] = owner[a]
    return owner
