from __future__ import annotations

import numpy as np

from voicetone.features.lengths import fitted, stepped


def _frames(count: int) -> np.ndarray:
    return np.arange(2 * count, dtype=np.float32).reshape(count, 2)


def test_means_of_so_many_frames() -> None:
    assert stepped(_frames(7), 1).shape == (7, 2)
    assert stepped(_frames(7), 3).tolist() == [[2, 3], [8, 9]]
    assert stepped(_frames(2), 3).tolist() == [[1, 2]]


def test_zeros_follow_a_shorter_stretch() -> None:
    values, mask = fitted(_frames(2), 4)
    assert values.tolist() == [[0, 1], [2, 3], [0, 0], [0, 0]]
    assert mask.tolist() == [1, 1, 0, 0]


def test_the_middle_of_a_longer_one_is_taken() -> None:
    values, mask = fitted(_frames(7), 3)
    assert values.tolist() == _frames(7)[2:5].tolist()
    assert mask.tolist() == [1, 1, 1]
