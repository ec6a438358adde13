"""Log-mel energies and a pitch map, computed frame by frame with left context only.

The pitch map is a generalised autocorrelation: the cosine transform of the root-compressed power
spectrum, read at log-spaced lags and divided by its value at lag zero. It peaks at the pitch
period and stays near zero for noise, and survives a telephone band that lacks the fundamental.
Both are linear maps of a spectrum, so one FFT serves them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np

from voicetone.audio.units import FEATURE_HOP, SAMPLE_RATE
from voicetone.errors import BundleError
from voicetone.types import Floats

_FLOOR = 1e-7  # power per mel band, about 16-bit rounding noise


@dataclass(frozen=True, slots=True)
class SpectralConfig:
    """Parameters of the features; part of a bundle, so that training and serving agree."""

    n_fft: int = 512
    hop: int = FEATURE_HOP
    mels: int = 64
    mel_low: float = 60.0
    mel_high: float = 7600.0
    lags: int = 40
    pitch_low: float = 62.5
    pitch_high: float = 500.0
    pitch_band: float = 4000.0

    def __post_init__(self) -> None:
        sane = (
            self.n_fft in (256, 512, 1024)
            and self.hop == FEATURE_HOP
            and 1 <= self.mels <= 128
            and 0 <= self.lags <= 128
            and 0 < self.mel_low < self.mel_high <= SAMPLE_RATE / 2
            and 2 * SAMPLE_RATE / self.n_fft <= self.pitch_low < self.pitch_high < self.pitch_band
            and self.pitch_band <= SAMPLE_RATE / 2
        )
        if not sane:
            raise BundleError("feature settings out of range: this bundle can't be used")

    @property
    def context(self) -> int:
        """Samples needed to the left of a frame's own hop."""
        return self.n_fft - self.hop

    @property
    def size(self) -> int:
        """Values per frame."""
        return self.mels + self.lags

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> SpectralConfig:
        """Settings from a bundle.

        Raises:
            BundleError: an unknown setting or a value out of range.
        """
        known = {f.name for f in fields(SpectralConfig)}
        if unknown := sorted(set(data) - known):
            raise BundleError(f"unknown feature settings {', '.join(unknown)}: update voicetone")
        return SpectralConfig(**data)


def _mel(hertz: Floats) -> Floats:
    return np.asarray(2595.0 * np.log10(1.0 + hertz / 700.0), dtype=np.float32)


@lru_cache(maxsize=8)
def _tables(config: SpectralConfig) -> tuple[Floats, Floats, Floats]:
    """Window `[n_fft]`, mel filters `[bins, mels]`, cosines `[bands, lags + 1]`."""
    bins = config.n_fft // 2 + 1
    hertz = np.linspace(0.0, SAMPLE_RATE / 2, bins, dtype=np.float32)
    window = np.hanning(config.n_fft + 1)[:-1].astype(np.float32)
    ends = _mel(np.array([config.mel_low, config.mel_high], dtype=np.float32))
    edges = np.linspace(ends[0], ends[1], config.mels + 2, dtype=np.float32)
    mels = _mel(hertz)[:, None]
    rising = (mels - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mels) / (edges[2:] - edges[1:-1])
    filters = np.clip(np.minimum(rising, falling), 0.0, None)
    filters /= (window**2).sum() * np.maximum(filters.sum(axis=0), 1e-3)
    band = int(config.pitch_band / (SAMPLE_RATE / 2) * (bins - 1)) + 1
    pitches = np.geomspace(config.pitch_high, config.pitch_low, max(config.lags, 1))
    lags = np.concatenate([[0.0], SAMPLE_RATE / pitches[: config.lags]])
    cosines = np.cos(2 * np.pi * np.arange(band)[:, None] * lags[None, :] / config.n_fft)
    return window, filters.astype(np.float32), cosines.astype(np.float32)


def spectral_features(samples: Floats, config: SpectralConfig) -> Floats:
    """Features of whole hops of audio at 16 kHz.

    Args:
        samples: float32 `[B, context + hop * k]`; at the start of a stream the context is zeros.
        config: the settings.

    Returns:
        float32 `[B, k, mels + lags]`: natural log of mel-band power, then the pitch map in
        [-1, 1]. Frame `i` uses no sample after hop `i`.
    """
    window, filters, cosines = _tables(config)
    frames = np.lib.stride_tricks.sliding_window_view(samples, config.n_fft, axis=-1)
    spectrum = np.fft.rfft(frames[:, :: config.hop] * window, axis=-1)
    power = spectrum.real**2 + spectrum.imag**2
    out = np.empty((*power.shape[:2], config.size), dtype=np.float32)
    np.log(power @ filters + _FLOOR, out=out[..., : config.mels])
    if config.lags:
        root = np.cbrt(power[..., : cosines.shape[0]])
        root -= root.mean(axis=-1, keepdims=True)
        # Lag zero of the mean-free spectrum is zero by construction: its spread is the scale.
        scale = np.abs(root).sum(axis=-1, keepdims=True) + 1e-4
        out[..., config.mels :] = (root @ cosines[:, 1:]) / scale
    return out
