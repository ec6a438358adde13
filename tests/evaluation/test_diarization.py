"""The diarization error rate, on cases that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicetone.errors import DataError
from voicetone.evaluation.diarization import Spoken, der

REFERENCE: list[Spoken] = [(0, 4, "A"), (5, 8, "B"), (9, 12, "A")]  # 10 s


def test_names_do_not_matter() -> None:
    found = der(REFERENCE, [(0, 4, 2), (5, 8, 1), (9, 12, 2)])
    assert found.rate == 0
    assert found.mapping == {2: "A", 1: "B"}
    assert found.total == 10


@pytest.mark.parametrize(
    ("hypothesis", "missed", "false_alarm", "confusion"),
    [
        ([], 10, 0, 0),
        ([(0, 12, 1)], 0, 2, 3),
        ([(0, 4, 1), (5, 8, 2)], 3, 0, 0),
        ([(0, 4, 1), (5, 8, 2), (9, 12, 2)], 0, 0, 3),  # 2 is B or the second A: 3 s either way
        ([(0, 4, 1), (5, 8, 2), (9, 12, 3)], 0, 0, 3),  # a third one stands for nobody
        ([(1, 4, 1), (5, 9, 2), (9, 12, 1)], 1, 1, 0),
        ([(0, 4, 1), (0, 4, 2), (5, 8, 2), (9, 12, 1)], 0, 4, 0),  # two at once where one is
        ([(20, 30, 1)], 10, 10, 0),
    ],
)
def test_errors_are_counted(
    hypothesis: list[Spoken], missed: float, false_alarm: float, confusion: float
) -> None:
    found = der(REFERENCE, hypothesis)
    assert (found.missed, found.false_alarm, found.confusion) == (missed, false_alarm, confusion)
    assert found.rate == pytest.approx((missed + false_alarm + confusion) / 10)


def test_the_mapping_is_the_best_of_all() -> None:
    # Taking the longest pair first (1-A) would leave 2 s; 1-B and 2-A share 3 + 4.
    reference: list[Spoken] = [(0, 9, "A"), (9, 12, "B")]
    found = der(reference, [(0, 5, 1), (5, 9, 2), (9, 12, 1)])
    assert found.mapping == {1: "A", 2: "B"} or found.confusion == 5
    assert found.confusion == 5  # 7 of 12 s are right


def test_overlap_is_scored() -> None:
    reference: list[Spoken] = [(0, 4, "A"), (2, 6, "B")]
    assert der(reference, [(0, 4, 1), (4, 6, 2)]).missed == 2
    assert der(reference, [(0, 4, 1), (2, 6, 2)]).rate == 0
    assert der(reference, [(0, 4, 1), (2, 6, 2)]).total == 8


def test_collars_are_not_scored() -> None:
    found = der(REFERENCE, [(0.2, 4.2, 1), (5, 8, 2), (9, 12, 1)], collar=0.25)
    assert found.rate == 0
    assert found.total == pytest.approx(10 - 6 * 0.25)
    assert der(REFERENCE, [(0.3, 4.2, 1), (5, 8, 2), (9, 12, 1)], collar=0.25).missed > 0
    with pytest.raises(DataError, match="no speech outside of its collars"):
        der(REFERENCE, REFERENCE, collar=3.0)


def test_the_same_speaker_twice_counts_once() -> None:
    twice = [*REFERENCE, (1.0, 3.0, "A")]
    assert der(twice, REFERENCE).total == 10
    assert der(twice, REFERENCE).rate == 0


def test_what_is_refused() -> None:
    with pytest.raises(DataError, match="no speech outside"):
        der([], REFERENCE)
    with pytest.raises(DataError, match="somebody speaks from 3 to 2 s"):
        der(REFERENCE, [(3, 2, 1)])
    with pytest.raises(DataError, match="from nan"):
        der([(float("nan"), 2, 1)], REFERENCE)
    with pytest.raises(DataError, match="collar -1"):
        der(REFERENCE, REFERENCE, collar=-1)


segments = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 8), st.integers(0, 2)).map(
        lambda t: (t[0], t[0] + t[1], t[2])
    ),
    min_size=1,
    max_size=8,
)


@given(segments, segments, st.sampled_from([0.0, 0.25]))
def test_it_is_what_counting_hundredths_gives(
    reference: list[Spoken], hypothesis: list[Spoken], collar: float
) -> None:
    def frames(spoken: list[Spoken]) -> np.ndarray:
        time = (np.arange(4000) + 0.5) / 100
        out = np.zeros((3, 4000))
        for start, end, who in spoken:
            out[int(who), (time > start) & (time < end)] = 1
        return out

    real, found = frames(reference), frames(hypothesis)
    time, scored = (np.arange(4000) + 0.5) / 100, np.ones(4000)
    for start, end, _ in reference:
        for edge in (start, end):
            scored[np.abs(time - edge) < collar] = 0
    total = (real * scored).sum()
    if total == 0:
        return
    from itertools import permutations

    most = max(
        sum((real[i] * found[p] * scored).sum() for i, p in enumerate(order))
        for order in permutations(range(3))
    )
    both = np.maximum(real.sum(0), found.sum(0))
    assert der(reference, hypothesis, collar).rate == pytest.approx(
        ((both * scored).sum() - most) / total, abs=1e-6
    )
