from __future__ import annotations

import numpy as np
import pytest

from voicetone.audio.energy import EDGE, RISE, energy_presence, speech_span
from voicetone.types import Floats

START = np.zeros((1, 1), np.float32)


def _noise(seconds: float, decibels: float, seed: int = 0) -> Floats:
    """`[1, n, 500]` of noise at a level."""
    count = round(seconds * 32)
    rng = np.random.default_rng(seed)
    return (10 ** (decibels / 20) * rng.standard_normal((1, count, 500))).astype(np.float32)


def test_a_voice_over_a_quiet_room() -> None:
    sound = np.concatenate([_noise(2, -55), _noise(2, -20), _noise(2, -55)], axis=1)
    speech, _ = energy_presence(sound, START)
    assert speech.shape == (1, 192)
    assert (speech[0, :64] < 0.5).all()
    assert (speech[0, 64:128] > 0.9).all()
    assert (speech[0, 128:] < 0.5).all()


def test_silence_and_faint_noise_are_no_speech() -> None:
    for sound in (np.zeros((1, 96, 500), np.float32), _noise(3, -70)):
        assert (energy_presence(sound, START)[0] < 0.5).all()


def test_a_steady_noise_becomes_the_background() -> None:
    speech, floor = energy_presence(_noise(10, -40), START)
    assert speech[0, 0] > 0.9
    assert (speech[0, -64:] < 0.1).all()
    assert floor[0, 0] == pytest.approx(20, abs=1)


def test_the_floor_rises_slowly_and_falls_at_once() -> None:
    _, floor = energy_presence(_noise(1, -20), START)
    assert floor[0, 0] == pytest.approx(32 * RISE, rel=1e-4)
    _, floor = energy_presence(np.zeros((1, 1, 500), np.float32), floor)
    assert floor[0, 0] == 0


def test_any_cutting_and_any_company_give_the_same() -> None:
    sounds = [np.concatenate([_noise(1, -50, i), _noise(1, -25, i)], axis=1) for i in range(3)]
    whole, floors = energy_presence(np.concatenate(sounds), np.zeros((3, 1), np.float32))
    for row, sound in enumerate(sounds):
        floor, parts = START, []
        for at in (slice(0, 7), slice(7, 40), slice(40, 64)):
            part, floor = energy_presence(sound[:, at], floor)
            parts.append(part)
        np.testing.assert_array_equal(np.concatenate(parts, axis=1)[0], whole[row])
        np.testing.assert_array_equal(floor[0], floors[row])


def test_the_span_of_speech() -> None:
    quiet = _noise(1, -40)  # by itself over the threshold: the background is the window's own
    sound = np.concatenate([quiet, _noise(2, -15), quiet], axis=1)[0]
    assert speech_span(sound, 0.5) == (32 - EDGE, 96 + EDGE)
    assert speech_span(_noise(2, -15)[0], 0.5) == (0, 64)  # nothing stands out: all of it
