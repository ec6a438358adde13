"""Level."""

from __future__ import annotations

import numpy as np

from voicetone.types import Waveform

QUIETEST, LOUDEST = -15.0, 10.0  # dB


def gain(
    wave: Waveform, rng: np.random.Generator, low: float = QUIETEST, high: float = LOUDEST
) -> Waveform:
    """The audio louder by `low`–`high` dB, clipped at full scale."""
    return louder(wave, drawn_gain(rng, low, high))


def drawn_gain(rng: np.random.Generator, low: float = QUIETEST, high: float = LOUDEST) -> float:
    """A change of level in dB."""
    return rng.uniform(low, high)


def louder(wave: Waveform, decibels: float) -> Waveform:
    """The audio louder by so many dB, clipped at full scale."""
    factor = np.float32(10 ** (decibels / 20))
    return Waveform(np.clip(wave.samples * factor, -1.0, 1.0), wave.sample_rate)
