"""Transforms: seeded, finite, as long as they should be, and doing what their names say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from voicetone.augment.gain import gain
from voicetone.augment.masking import masked
from voicetone.augment.noise import mixed, noise
from voicetone.augment.pitch import pitch
from voicetone.augment.reverb import convolved, reverb
from voicetone.augment.speed import at_rate, speed
from voicetone.augment.telephone import telephone, through_line
from voicetone.augment.transpose import transposed
from voicetone.types import Waveform

RATE = 16_000
Transform = Callable[[Waveform, np.random.Generator], Waveform]


def _sound(hertz: float = 220.0, seconds: float = 1.0) -> Waveform:
    time = np.arange(int(seconds * RATE)) / RATE
    envelope = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * time)
    sound = sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 6))
    return Waveform((0.1 * envelope * sound).astype(np.float32)[None], RATE)


def _pitch_of(wave: Waveform) -> float:
    samples = wave.samples[0, 4000:12000]
    spectrum = np.fft.rfft(samples, 2 * len(samples))
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)
    lags = slice(RATE // 600, RATE // 80)
    return RATE / (lags.start + int(correlation[lags].argmax()))


NOISES = [np.random.default_rng(9).normal(0, 0.1, 5000).astype(np.float32)]
ROOMS = [np.exp(-np.arange(800) / 100).astype(np.float32)]
TRANSFORMS: dict[str, Transform] = {
    "gain": gain,
    "noise": lambda w, r: noise(w, r, NOISES),
    "pitch": pitch,
    "reverb": lambda w, r: reverb(w, r, ROOMS),
    "speed": speed,
    "telephone": telephone,
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_contract(name: str) -> None:
    transform, wave = TRANSFORMS[name], _sound()
    before = wave.samples.copy()
    one = transform(wave, np.random.default_rng(3))
    again = transform(wave, np.random.default_rng(3))
    np.testing.assert_array_equal(one.samples, again.samples)
    np.testing.assert_array_equal(wave.samples, before)
    assert one.samples.dtype == np.float32
    assert one.sample_rate == RATE
    assert np.isfinite(one.samples).all()
    if name != "speed":
        assert one.samples.shape == wave.samples.shape
    others = [transform(wave, np.random.default_rng(s)).samples for s in range(8)]
    assert any(o.shape != one.samples.shape or not np.array_equal(o, one.samples) for o in others)


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("samples", [1, 7, 400])
def test_very_short_audio(name: str, samples: int) -> None:
    wave = Waveform(np.full((1, samples), 0.1, dtype=np.float32), RATE)
    out = TRANSFORMS[name](wave, np.random.default_rng(0))
    assert np.isfinite(out.samples).all()


def test_speed_changes_length_and_pitch() -> None:
    faster = at_rate(_sound(), 1.05)
    assert faster.samples.shape[1] == pytest.approx(RATE / 1.05, abs=2)
    assert _pitch_of(faster) == pytest.approx(231.0, rel=0.02)


def test_pitch_keeps_length_and_moves_pitch() -> None:
    class Fixed(np.random.Generator):
        def uniform(self, low: float, high: float) -> float:  # type: ignore[override]
            return high

    higher = pitch(_sound(), Fixed(np.random.PCG64(0)), semitones=2.0)
    assert higher.samples.shape == _sound().samples.shape
    assert _pitch_of(higher) == pytest.approx(220.0 * 2 ** (2 / 12), rel=0.03)


@pytest.mark.parametrize("snr", [0.0, 10.0, 20.0])
def test_noise_comes_at_the_asked_ratio(snr: float) -> None:
    rng = np.random.default_rng(0)
    wave = Waveform(rng.normal(0, 0.1, (1, RATE)).astype(np.float32), RATE)
    added = mixed(wave, NOISES[0], snr).samples - wave.samples
    ratio = 10 * np.log10((wave.samples**2).mean() / (added**2).mean())
    assert ratio == pytest.approx(snr, abs=0.5)


def test_reverb_keeps_level_and_start() -> None:
    wave = _sound()
    wet = convolved(wave, ROOMS[0])
    level = np.sqrt((wave.samples**2).mean()), np.sqrt((wet.samples**2).mean())
    assert level[1] == pytest.approx(level[0], rel=0.01)
    click = Waveform(np.eye(1, 400, 100, dtype=np.float32), RATE)
    assert int(np.abs(convolved(click, ROOMS[0]).samples).argmax()) == 100


def test_telephone_takes_the_low_and_the_high() -> None:
    rng = np.random.default_rng(0)
    white = Waveform(rng.normal(0, 0.1, (1, RATE)).astype(np.float32), RATE)
    line = through_line(white, 300.0, 3400.0, companded=False)
    power = np.abs(np.fft.rfft(line.samples[0])) ** 2
    inside = power[500:3000].mean()
    assert power[:150].mean() < 0.05 * inside
    assert power[4200:].mean() < 0.01 * inside


def test_gain_never_leaves_full_scale() -> None:
    loud = Waveform(np.full((1, 100), 0.9, dtype=np.float32), RATE)
    assert np.abs(gain(loud, np.random.default_rng(0), 10.0, 10.1).samples).max() <= 1.0


def test_masks_fill_and_leave_the_pitch_map() -> None:
    frames = np.ones((64, 20), dtype=np.float32)
    fill = np.zeros(20, dtype=np.float32)
    rng = np.random.default_rng(1)
    out = masked(frames, rng, bands=16, fill=fill, widest_band=8, longest=8)
    assert 0 < (out == 0).mean() < 0.9
    assert (out[:, 16:].any(axis=1) == out.any(axis=1)).all()
    assert (frames == 1).all()


def test_transposition_slides_both_axes() -> None:
    frames = np.zeros((2, 30), dtype=np.float32)
    frames[:, 10] = 1.0  # a mel band
    frames[:, 20 + 5] = 1.0  # a lag
    up = transposed(frames, 2.0, bands=20, lags_per_band=1.0)
    assert up[0, :20].argmax() == 12
    assert up[0, 20:].argmax() == 3
    np.testing.assert_array_equal(transposed(frames, 0.0, bands=20, lags_per_band=1.0), frames)
