"""Simulated rooms: they sound as long as they should, and the direct sound comes first."""

from __future__ import annotations

import sys

import numpy as np
import pyroomacoustics
import pytest

from voicetone.augment.draws import generator
from voicetone.augment.rooms import (
    DISTANCE,
    FROM_WALLS,
    MOST_REFLECTIONS,
    RT60,
    SIZES,
    Room,
    decay,
    drawn_box,
    response,
    room_reverb,
)
from voicetone.errors import MissingExtraError
from voicetone.types import Waveform

RATES = (8_000, 16_000)


def test_rooms_are_drawn_within_their_limits() -> None:
    low, high = np.array(SIZES)
    for seed in range(200):
        room = drawn_box(generator(seed))
        size = np.array(room.size)
        assert ((size >= low) & (size <= high)).all()
        assert RT60[0] <= room.rt60 <= RT60[1]
        assert DISTANCE[0] - 1e-9 <= room.distance <= DISTANCE[1] + 1e-9
        for place in (room.source, room.microphone):
            assert (np.array(place) >= FROM_WALLS).all()
            assert (np.array(place) <= size - FROM_WALLS).all()
        assert 1 <= room.reflections <= MOST_REFLECTIONS
    assert drawn_box(generator(1)) == drawn_box(generator(1)) != drawn_box(generator(2))


def test_places_are_found_where_draws_don_t_fit() -> None:
    room = drawn_box(generator(0), distance=(2.19, 2.2))
    assert 2.19 <= room.distance <= 2.2
    cramped = type(
        "No", (np.random.Generator,), {"standard_normal": lambda *_: np.array([0, 0, 9.0])}
    )
    room = drawn_box(cramped(np.random.PCG64(0)), distance=(2.0, 2.0))
    assert room.distance == pytest.approx(2.0)
    assert room.source[2] == room.microphone[2] == pytest.approx(room.size[2] / 2)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("seed", range(4))
def test_the_sound_dies_away_in_the_time_that_was_asked_for(seed: int, rate: int) -> None:
    room = drawn_box(generator(seed, "asked"))
    taps = response(room, rate).astype(np.float64)
    assert decay(taps**2, 1 / rate) == pytest.approx(room.rt60, rel=0.3)
    assert len(taps) <= round(room.rt60 * rate)
    assert (taps**2).sum() == pytest.approx(1.0, rel=1e-4)
    assert np.isfinite(taps).all()


@pytest.mark.parametrize("rate", RATES)
def test_shorter_is_shorter(rate: int) -> None:
    size, source, microphone = (5.0, 4.0, 2.7), (1.5, 2.0, 1.5), (3.0, 2.4, 1.2)
    heard = [
        decay(response(Room(size, s, source, microphone), rate).astype(float) ** 2, 1 / rate)
        for s in (0.2, 0.4, 0.6)
    ]
    assert heard[0] < 0.7 * heard[1] < 0.6 * heard[2] * 1.2


@pytest.mark.parametrize("rate", RATES)
def test_the_direct_sound_comes_first_and_near_it_is_most_of_all(rate: int) -> None:
    size, source = (6.1, 5.2, 2.9), (1.7, 2.3, 1.6)
    shares = []
    for apart in (0.3, 1.0, 2.0):
        taps = response(Room(size, 0.5, source, (1.7 + 0.8 * apart, 2.3 + 0.6 * apart, 1.6)), rate)
        assert int(np.abs(taps).argmax()) <= 1
        shares.append(float((taps[: rate // 500] ** 2).sum()))  # 2 ms
    assert shares[0] > shares[1] > shares[2]
    assert shares[0] > 0.5


def test_a_seed_is_a_room_whatever_the_threads() -> None:
    room = drawn_box(generator(5))
    one = response(room, 16_000)
    threads = pyroomacoustics.constants.get("num_threads")
    pyroomacoustics.constants.set("num_threads", threads + 2)
    try:
        np.testing.assert_array_equal(response(room, 16_000), one)
        assert pyroomacoustics.constants.get("num_threads") == threads + 2
    finally:
        pyroomacoustics.constants.set("num_threads", threads)


@pytest.mark.parametrize("rate", RATES)
def test_audio_keeps_length_level_and_start(rate: int) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (1, rate)).astype(np.float32)
    wave = Waveform(noise, rate)
    wet = room_reverb(wave, generator(3))
    assert wet.samples.shape == noise.shape
    assert wet.samples.dtype == np.float32
    assert (wet.samples**2).mean() == pytest.approx((noise**2).mean(), rel=0.01)
    np.testing.assert_array_equal(room_reverb(wave, generator(3)).samples, wet.samples)
    assert not np.array_equal(room_reverb(wave, generator(4)).samples, wet.samples)
    click = Waveform(np.eye(1, rate // 2, 100, dtype=np.float32), rate)
    heard = np.abs(room_reverb(click, generator(3)).samples[0])
    assert heard[:100].max() < 1e-6
    assert heard[100] > 0.05


@pytest.mark.parametrize("samples", [1, 7])
def test_very_short_and_silent_audio(samples: int) -> None:
    wave = Waveform(np.zeros((1, samples), dtype=np.float32), 16_000)
    assert not room_reverb(wave, generator(0)).samples.any()


def test_decay_of_a_known_slope() -> None:
    time = np.arange(8000) / 8000
    energy = 10 ** (-6 * time / 0.4)
    assert decay(energy, 1 / 8000) == pytest.approx(0.4, rel=0.01)
    assert decay(np.array([1.0]), 0.001) == 0.0


def test_without_pyroomacoustics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'voicetone\[train\]'"):
        response(drawn_box(generator(0)), 16_000)
