"""Speech rate, as Kaldi-style speed perturbation: tempo and pitch move together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from voicetone.types import Waveform

RATES = (0.95, 1.0, 1.05)


def speed(wave: Waveform, rng: np.random.Generator, rates: Sequence[float] = RATES) -> Waveform:
    """The audio played at a rate drawn from `rates` (1.05 is 5 % faster)."""
    return at_rate(wave, drawn_rate(rng, rates))


def drawn_rate(rng: np.random.Generator, rates: Sequence[float] = RATES) -> float:
    """One of `rates`."""
    return float(rng.choice(np.asarray(rates)))


def at_rate(wave: Waveform, rate: float) -> Waveform:
    """The audio played at `rate`, sample rate unchanged."""
    if rate == 1.0:
        return wave
    source = Waveform(wave.samples, round(wave.sample_rate * rate))
    return Waveform(source.resample(wave.sample_rate).samples, wave.sample_rate)
