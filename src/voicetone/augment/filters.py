"""High-pass and low-pass: a Butterworth filter at a drawn corner frequency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from voicetone.types import Waveform


def high_pass(
    wave: Waveform, rng: np.random.Generator, corners: Sequence[float] = (50.0, 100.0, 150.0)
) -> Waveform:
    """The audio without what lies below a corner drawn from `corners` (Hz)."""
    return filtered(wave, float(rng.choice(np.asarray(corners))), "highpass")


def low_pass(
    wave: Waveform, rng: np.random.Generator, corners: Sequence[float] = (6500.0, 7000.0, 7500.0)
) -> Waveform:
    """The audio without what lies above a corner drawn from `corners` (Hz)."""
    return filtered(wave, float(rng.choice(np.asarray(corners))), "lowpass")


def filtered(
    wave: Waveform, corner: float, kind: Literal["highpass", "lowpass"], order: int = 1
) -> Waveform:
    """The audio through a Butterworth filter; `corner` is where it takes 3 dB, in Hz."""
    from scipy.signal import butter, sosfilt

    sections = butter(order, corner, btype=kind, fs=wave.sample_rate, output="sos")
    out = sosfilt(sections, wave.samples, axis=1).astype(np.float32)
    return Waveform(out, wave.sample_rate)
