"""Pieces of speech grouped by voice."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from voicetone.errors import DataError
from voicetone.features import speaker_clusters
from voicetone.features.speaker_clusters import clusters, in_order, likeness


def voices(sizes: list[int], spread: float = 0.3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings around as many centres, in a mixed order, and whose they are."""
    rng = np.random.default_rng(seed)
    centres = np.abs(rng.standard_normal((len(sizes), 32)))  # of ReLU, so alike to start with
    who = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    rows = centres[who] + spread * rng.standard_normal((len(who), 32))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), who


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [1, 2, 4, 7, 30])
def test_the_tree_is_that_of_average_linkage(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((30, 6))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    apart = 1 - rows @ rows.T
    np.fill_diagonal(apart, 0)
    tree = linkage(squareform(apart, checks=False), "average")
    heights, pairs = speaker_clusters._merges(rows)
    assert np.allclose(np.sort(heights), tree[:, 2])
    wanted = fcluster(tree, count, "maxclust")
    found = speaker_clusters._cut(30, heights, pairs, count)
    assert np.array_equal(found, in_order(wanted))


@pytest.mark.parametrize("sizes", [[9, 9], [20, 4], [8, 8, 8], [5] * 8])
def test_voices_are_found(sizes: list[int]) -> None:
    rows, who = voices(sizes)
    same = likeness(rows, in_order(who)) + 0.02
    for told in (len(sizes), None):
        found = clusters(rows, threshold=same, count=told, least=2.0)
        assert np.array_equal(found, in_order(who))


def test_one_voice_is_one() -> None:
    rows, _ = voices([20])
    assert not clusters(rows, threshold=0.5).any()
    assert not clusters(rows, threshold=1.0, count=1).any()
    assert not clusters(np.tile(rows[:1], (6, 1)), threshold=0.5).any()  # nothing to tell apart


def test_few_pieces() -> None:
    rows, _ = voices([1, 1])
    assert clusters(rows[:0], threshold=0.5).shape == (0,)
    assert clusters(rows[:1], threshold=0.5, count=2).tolist() == [0]
    assert clusters(rows, threshold=0.99).tolist() == [0, 1]
    assert clusters(rows, threshold=0.99, count=3).tolist() == [0, 1]


def test_a_stray_piece_is_no_voice() -> None:
    rows, who = voices([12, 12, 1], spread=0.2, seed=3)
    real = who < 2
    found = clusters(rows, threshold=0.99, count=2, weights=np.full(25, 2.0), least=3.0)
    assert set(found) == {0, 1}
    assert np.array_equal(in_order(found[real]), in_order(who[real]))
    heavy = np.where(real, 1.0, 50.0)  # the same piece with weight is one
    alone = clusters(rows, threshold=0.99, count=3, weights=heavy, least=3.0)
    assert np.array_equal(alone, in_order(who))


def test_at_most_so_many() -> None:
    rows, _ = voices([4] * 6, spread=0.05)
    assert clusters(rows, threshold=0.99).max() == 5
    assert clusters(rows, threshold=0.99, most=3).max() == 2


def test_many_pieces_are_grouped_by_some_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speaker_clusters, "MOST_AT_ONCE", 40)
    rows, who = voices([150, 150], spread=0.2)
    assert np.array_equal(clusters(rows, threshold=0.5, count=2), in_order(who))


def test_what_is_refused() -> None:
    rows, _ = voices([3, 3])
    for count in (0, 9):
        with pytest.raises(DataError, match=f"{count} voices to find: give 1 to 8"):
            clusters(rows, threshold=0.5, count=count)
    with pytest.raises(DataError, match=r"shape \[32\]"):
        clusters(rows[0], threshold=0.5)
    rows[2, 1] = np.nan
    with pytest.raises(DataError, match="finite"):
        clusters(rows, threshold=0.5)
