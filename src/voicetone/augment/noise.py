"""Additive noise at a drawn signal-to-noise ratio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from voicetone.types import Floats, Waveform

LOUDEST, QUIETEST = 0.0, 15.0  # dB of signal-to-noise ratio


class DrawnNoise(NamedTuple):
    """Which of the noises, its samples `[n]` from where they begin, and the ratio in dB."""

    place: int
    sound: Floats
    snr: float


def noise(
    wave: Waveform,
    rng: np.random.Generator,
    noises: Sequence[Floats],
    snr_low: float = LOUDEST,
    snr_high: float = QUIETEST,
) -> Waveform:
    """A noise drawn from `noises` (each `[n]`, same rate) added at `snr_low`–`snr_high` dB."""
    drawn = drawn_noise(rng, noises, snr_low, snr_high)
    return mixed(wave, drawn.sound, drawn.snr)


def drawn_noise(
    rng: np.random.Generator,
    noises: Sequence[Floats],
    snr_low: float = LOUDEST,
    snr_high: float = QUIETEST,
) -> DrawnNoise:
    """One of the noises, from a drawn place on, at a drawn ratio."""
    place = int(rng.integers(len(noises)))
    sound = noises[place]
    sound = np.roll(sound, int(rng.integers(len(sound))))
    return DrawnNoise(place, sound, rng.uniform(snr_low, snr_high))


def mixed(wave: Waveform, sound: Floats, snr: float) -> Waveform:
    """The audio with a noise `[n]`, repeated as needed, at `snr` dB against its loud frames.

    The speech level is that of the loudest half of 25 ms frames: pauses don't count.
    """
    sound = np.resize(sound, wave.samples.shape[1])
    power = active_power(wave.samples.mean(axis=0), wave.sample_rate)
    level = np.sqrt(power / (active_power(sound, wave.sample_rate) + 1e-12) * 10 ** (-snr / 10))
    return Waveform(wave.samples + np.float32(level) * sound, wave.sample_rate)


def active_power(samples: Floats, rate: int) -> float:
    """Mean power of the loudest half of 25 ms frames of samples `[n]`."""
    frame = rate // 40
    if len(samples) < 2 * frame:
        return float((samples**2).mean()) if len(samples) else 0.0
    powers = (samples[: len(samples) // frame * frame].reshape(-1, frame) ** 2).mean(axis=1)
    return float(np.sort(powers)[len(powers) // 2 :].mean())
