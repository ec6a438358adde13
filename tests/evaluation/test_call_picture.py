"""The geometry of a channel's pictures."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from tests.evaluation import calls

from voicetone.evaluation import call_picture
from voicetone.types import SENTIMENTS, Window


def test_columns_tile_the_recording_and_keep_its_speech() -> None:
    for most in (600, 7):
        talk = calls.two_party().channels[1]
        found = call_picture.columns(talk.windows, 180, most)
        assert len(found) <= most
        assert found[0].start == 0
        assert found[-1].end == 180
        assert all(a.end == b.start for a, b in pairwise(found))
        assert sum(c.speech_seconds for c in found) == pytest.approx(talk.overall.speech_seconds)
        for column in found:
            if column.sentiment is not None:
                assert sum(column.sentiment.values()) == pytest.approx(1)


def test_a_window_without_speech_in_its_newest_part_leaves_a_gap() -> None:
    pair = calls.scores(0.4)
    windows = [Window(0, 5, True, 3, *pair), Window(2.5, 7.5, True, 0.0, *pair)]
    first, second = call_picture.columns(windows, 7.5)
    assert first.sentiment == pytest.approx(pair[0])
    assert second.sentiment is None


def points(path: str) -> list[list[tuple[float, float]]]:
    """The corners of each closed piece of a path of M, L, H and V."""
    pieces = []
    for piece in path.split("z")[:-1]:
        x = y = 0.0
        corners = []
        for command, numbers in re.findall(r"([MLHV])([-\d. ]+)", piece):
            values = [float(n) for n in numbers.split()]
            x = values[0] if command in "MLH" else x
            y = values[-1] if command in "MLV" else y
            corners.append((x, y))
        pieces.append(corners)
    return pieces


def test_bands_fill_the_height_and_stop_where_nobody_speaks() -> None:
    pair = calls.scores(0.4)
    spoken = Window(0, 5, True, 5, *pair)
    after = Window(7.5, 12.5, True, 2.5, *pair)
    gap = [Window(2.5, 7.5, False, 0, None, None), Window(5, 10, False, 0, None, None)]
    slices = call_picture.columns([spoken, *gap, after], 12.5)
    paths = call_picture.bands(slices, 12.5)
    edges = {}
    for label, path in paths.items():
        first, second = points(path)
        assert (min(x for x, _ in first), max(x for x, _ in first)) == (0, 1600)
        assert (min(x for x, _ in second), max(x for x, _ in second)) == (3200, 4000)
        edges[label] = (min(y for _, y in first), max(y for _, y in first))
    positive, neutral, negative = (edges[label] for label in SENTIMENTS)
    assert (positive[0], negative[1]) == (0, call_picture.HEIGHT)  # they sum to one
    assert positive[1] == pytest.approx(1000 * pair[0]["positive"], abs=1)
    assert neutral[1] == pytest.approx(1000 * (1 - pair[0]["negative"]), abs=1)
    for upper, lower in ((positive, neutral), (neutral, negative)):
        assert upper[1] - lower[0] == call_picture.OVERLAP


def test_heat_map_shades_by_probability_and_joins_equal_neighbours() -> None:
    emotion = {"anger": 0.71, "calm": 0.29}
    windows = [
        Window(0, 5, True, 5, {"positive": 0.2, "neutral": 0.2, "negative": 0.6}, emotion),
        Window(2.5, 7.5, True, 2.5, {"positive": 0.2, "neutral": 0.2, "negative": 0.6}, emotion),
        Window(5, 10, False, 0, None, None),
    ]
    paths = call_picture.heat(call_picture.columns(windows, 10), ("anger", "calm"), 10)
    assert [i for i, path in enumerate(paths) if path] == [3, 7]
    assert paths[7] == "M0 0H3000V500H0z"
    assert paths[3] == "M0 500H3000V1000H0z"


def test_balance_is_above_the_middle_when_positive() -> None:
    agent = calls.channel(1, 60, lambda t: 0.9, wobble=0.1)
    upset = calls.channel(1, 60, lambda t: -0.9, wobble=0.1)
    assert max(y for _, y in points(call_picture.balance(agent.current, 0, 60))[0]) == 500
    assert min(y for _, y in points(call_picture.balance(upset.current, 0, 60))[0]) == 500
    assert call_picture.balance((), 0, 60) == ""


def test_strip_joins_equal_labels() -> None:
    customer = calls.two_party().channels[1]
    runs = call_picture.strip(customer.current, 7.5, 180)
    labels = [run.label for run in runs]
    assert labels[0] == "neutral"
    assert labels[-1] == "positive"
    assert all(a != b for a, b in pairwise(labels))
    assert runs[0].left == pytest.approx(100 * 7.5 / 180, abs=0.01)
    assert runs[-1].left + runs[-1].width <= 100.01


@pytest.mark.parametrize("bins", [1, 7, 1200, 50_000])
def test_waveform_is_bounded_and_inside_its_picture(bins: int) -> None:
    rng = np.random.default_rng(0)
    high = rng.uniform(0, 1, bins).astype(np.float32)
    path = call_picture.waveform(np.stack([-high, high], axis=1))
    (corners,) = points(path)
    assert len(corners) <= 4 * call_picture.MOST_BINS
    assert min(x for x, _ in corners) == 0
    assert max(x for x, _ in corners) == call_picture.WIDTH
    assert min(y for _, y in corners) >= 0
    assert max(y for _, y in corners) <= call_picture.HEIGHT + 8


def test_waveform_of_broken_or_no_peaks() -> None:
    assert call_picture.waveform(np.zeros((0, 2), np.float32)) == ""
    assert "nan" not in call_picture.waveform(np.full((5, 2), np.nan, np.float32))


@pytest.mark.parametrize("duration", [0.001, 0.6, 5, 47.3, 180, 3600, 10_770, 360_000])
def test_ticks_are_few_and_round(duration: float) -> None:
    found = call_picture.ticks(duration)
    assert 1 <= len(found) <= call_picture.MOST_TICKS + 1
    assert found[0].left == 0
    assert all(0 <= tick.left <= 100 for tick in found)
    assert len({tick.text for tick in found}) == len(found)
