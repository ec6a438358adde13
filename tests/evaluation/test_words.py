"""Error rates of texts: hand-counted, against a plain table of distances, and over speakers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from voicetone.errors import DataError
from voicetone.evaluation.words import error_rate, text_errors

pytest.importorskip("rapidfuzz")


def distance(a: list[str], b: list[str]) -> int:
    """Wagner and Fischer's table."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def test_kinds_of_errors_by_hand() -> None:
    found = text_errors(
        ["one two three", "one two", "one", "", "one two"],
        ["one too three", "one", "one two", "one", ""],
    )
    assert found.substitutions.tolist() == [1, 0, 0, 0, 0]
    assert found.deletions.tolist() == [0, 1, 0, 0, 2]
    assert found.insertions.tolist() == [0, 0, 1, 1, 0]
    assert found.length.tolist() == [3, 2, 1, 0, 2]
    # Pooled: 6 of 8, while the mean of ratios would be another.
    assert found.rate == 6 / 8
    assert found.of(np.array([0, 1])).rate == 2 / 5


def test_characters_count_the_spaces_between_words() -> None:
    found = text_errors(["one  two "], ["onetwo"], "characters")
    assert (found.length[0], found.deletions[0], found.errors[0]) == (7, 1, 1)


def test_errors_are_the_distance() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(list("abc"), int(rng.integers(0, 9)))) for _ in range(80)]
    truth, heard = texts[:40], texts[40:]
    for unit, cut in (("words", str.split), ("characters", list)):
        found = text_errors(truth, heard, unit)  # type: ignore[arg-type]
        expected = [distance(cut(a), cut(b)) for a, b in zip(truth, heard, strict=True)]
        assert found.errors.tolist() == expected
        assert (found.length - found.deletions + found.insertions).tolist() == [
            len(cut(b)) for b in heard
        ]


def test_interval_is_over_speakers() -> None:
    # One speaker of six is never understood: intervals over speakers are wide.
    speakers = [f"s{k // 20}" for k in range(120)]
    truth = ["one"] * 120
    heard = ["two"] * 20 + ["one"] * 100
    score = error_rate(text_errors(truth, heard), speakers)
    assert score.value == 1 / 6
    assert score.low is not None
    assert score.high is not None
    assert score.low < 0.05
    assert score.high > 0.3
    assert score == error_rate(text_errors(truth, heard), speakers)
    few = error_rate(text_errors(truth, heard), ["s", "t"] * 60)
    assert (few.value, few.low, few.high) == (1 / 6, None, None)


def test_nothing_to_score() -> None:
    assert math.isnan(text_errors([""], ["one"]).rate)
    with pytest.raises(DataError, match="texts were heard of"):
        text_errors(["one"], [])
    with pytest.raises(DataError, match="texts and speakers"):
        error_rate(text_errors(["one"], ["one"]), [])
