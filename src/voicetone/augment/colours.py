"""Noise that is made and not recorded: white and pink."""

from __future__ import annotations

import numpy as np

from voicetone.types import Floats


def white(length: int, rng: np.random.Generator) -> Floats:
    """Gaussian noise `[length]` of the same power at all frequencies, RMS 1."""
    return rng.standard_normal(length).astype(np.float32)


def pink(length: int, rng: np.random.Generator) -> Floats:
    """Gaussian noise `[length]` of the same power in every octave (1/f), RMS about 1."""
    if length < 2:
        return white(length, rng)
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    noise = np.fft.irfft(spectrum, length)
    return np.asarray(noise / (np.sqrt((noise**2).mean()) + 1e-12), dtype=np.float32)
