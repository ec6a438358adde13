"""Log-mel energies, mel filter-bank energies and MFCC in frames of 25 ms every 10 ms.

The bands are triangles of equal width on O'Shaughnessy's mel scale (`2595 log10(1 + f / 700)`)
over a Hann-windowed power spectrum, scaled to power per band. MFCC are the orthonormal cosine
transform (DCT-II) of the logarithms (Davis and Mermelstein, IEEE TASSP 28(4), 1980).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from voicetone.audio.units import SAMPLE_RATE
from voicetone.types import Floats

WINDOW = 400  # samples at SAMPLE_RATE: 25 ms
HOP = 160  # samples: 10 ms
N_FFT = 512
LOW, HIGH = 20.0, 8000.0  # Hz, ends of the mel bands
COEFFICIENTS = 13
_FLOOR = 1e-10  # power per band, 100 dB under a full-scale tone


@lru_cache(maxsize=4)
def mel_filters(bands: int) -> NDArray[np.float64]:
    """Triangular filters `[N_FFT / 2 + 1, bands]`; each sums to one."""

    def mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(2595.0 * np.log10(1.0 + hertz / 700.0))

    ends = mel(np.array([LOW, HIGH]))
    edges = np.linspace(ends[0], ends[1], bands + 2)
    place = mel(np.linspace(0.0, SAMPLE_RATE / 2, N_FFT // 2 + 1))[:, None]
    rising = (place - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - place) / (edges[2:] - edges[1:-1])
    filters = np.clip(np.minimum(rising, falling), 0.0, None)
    # Where bands are narrower than a bin, one may hold no bin's centre: it takes the nearest.
    empty = np.flatnonzero(filters.sum(axis=0) == 0)
    filters[np.abs(place - edges[1:-1][empty]).argmin(axis=0), empty] = 1.0
    return np.asarray(filters / filters.sum(axis=0))


def mel_energies(samples: Floats, bands: int) -> Floats:
    """Natural logarithm of the power in each band.

    Args:
        samples: `[n]` at 16 kHz.
        bands: how many.

    Returns:
        `[frames, bands]`, `1 + (n - 400) // 160` frames; none if there are fewer samples than one
        window has.
    """
    if len(samples) < WINDOW:
        return np.zeros((0, bands), dtype=np.float32)
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    spectrum = np.fft.rfft(frames * window, N_FFT, axis=-1).astype(np.complex128)
    # A sine of amplitude 1 has the power 1 at its bin.
    # In double precision, so that the number of BLAS threads leaves no trace in the result.
    power = (spectrum.real**2 + spectrum.imag**2) * (4.0 / float(window.sum()) ** 2)
    return np.asarray(np.log(power @ mel_filters(bands) + _FLOOR), dtype=np.float32)


def mfcc(samples: Floats, bands: int = 40, coefficients: int = COEFFICIENTS) -> Floats:
    """Mel-frequency cepstral coefficients, the zeroth among them, `[frames, coefficients]`."""
    place = np.pi * (np.arange(bands) + 0.5) / bands
    cosines = np.cos(place[:, None] * np.arange(coefficients)) * np.sqrt(2.0 / bands)
    cosines[:, 0] /= np.sqrt(2.0)
    return np.asarray(mel_energies(samples, bands) @ cosines, dtype=np.float32)
