"""A telephone line: 300–3,400 Hz at 8 kHz, μ-law."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from voicetone.augment.narrow import NARROW_RATE, narrowed
from voicetone.types import Floats, Waveform


class DrawnLine(NamedTuple):
    """Corner frequencies in Hz, and whether samples are coded in 8-bit μ-law."""

    low: float
    high: float
    companded: bool


def telephone(wave: Waveform, rng: np.random.Generator) -> Waveform:
    """The audio after a line whose corner frequencies and companding are drawn."""
    line = drawn_line(rng)
    return through_line(wave, line.low, line.high, companded=line.companded)


def drawn_line(rng: np.random.Generator) -> DrawnLine:
    """A line from 150–350 to 3,200–3,700 Hz, companded in 7 of 10 cases."""
    low, high = rng.uniform(150.0, 350.0), rng.uniform(3200.0, 3700.0)
    return DrawnLine(low, high, bool(rng.random() < 0.7))


def through_line(wave: Waveform, low: float, high: float, *, companded: bool) -> Waveform:
    """The audio band-passed to `low`–`high` Hz at 8 kHz and back, in 8-bit μ-law if companded."""
    from scipy.signal import butter, sosfilt

    sections = butter(4, (low, high), btype="bandpass", fs=NARROW_RATE, output="sos")

    def line(narrow: Floats) -> Floats:
        heard: Floats = sosfilt(sections, narrow, axis=1).astype(np.float32)
        return _companded(heard) if companded else heard

    return narrowed(wave, line)


def _companded(samples: Floats, mu: float = 255.0) -> Floats:
    clipped = np.clip(samples, -1.0, 1.0)
    code = np.sign(clipped) * np.log1p(mu * np.abs(clipped)) / np.log1p(mu)
    code = np.round(code * 127.0) / 127.0
    expanded = np.sign(code) * np.expm1(np.abs(code) * np.log1p(mu)) / mu
    return np.asarray(expanded, dtype=np.float32)
