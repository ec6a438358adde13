"""A telephone line: 300–3,400 Hz at 8 kHz, μ-law."""

from __future__ import annotations

import numpy as np

from voicetone.types import Floats, Waveform


def telephone(wave: Waveform, rng: np.random.Generator) -> Waveform:
    """The audio after a line whose corner frequencies and companding are drawn."""
    low, high = rng.uniform(150.0, 350.0), rng.uniform(3200.0, 3700.0)
    return through_line(wave, low, high, companded=bool(rng.random() < 0.7))


def through_line(wave: Waveform, low: float, high: float, *, companded: bool) -> Waveform:
    """The audio band-passed to `low`–`high` Hz at 8 kHz and back, in 8-bit μ-law if companded."""
    from scipy.signal import butter, sosfilt

    narrow = wave.resample(8000).samples
    sections = butter(4, (low, high), btype="bandpass", fs=8000, output="sos")
    narrow = sosfilt(sections, narrow, axis=1).astype(np.float32)
    if companded:
        narrow = _companded(narrow)
    wide = Waveform(narrow, 8000).resample(wave.sample_rate).samples
    out = np.zeros_like(wave.samples)
    length = min(wide.shape[1], out.shape[1])
    out[:, :length] = wide[:, :length]
    return Waveform(out, wave.sample_rate)


def _companded(samples: Floats, mu: float = 255.0) -> Floats:
    clipped = np.clip(samples, -1.0, 1.0)
    code = np.sign(clipped) * np.log1p(mu * np.abs(clipped)) / np.log1p(mu)
    code = np.round(code * 127.0) / 127.0
    expanded = np.sign(code) * np.expm1(np.abs(code) * np.log1p(mu)) / mu
    return np.asarray(expanded, dtype=np.float32)
