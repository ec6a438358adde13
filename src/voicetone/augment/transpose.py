"""A higher or lower voice, on feature frames: the mel bands and the pitch map slide together.

In the manner of vocal-tract-length perturbation (Jaitly and Hinton, ICML workshop 2013), but on
both log-like axes at once, so that harmonics, formants and pitch period stay in step.
"""

from __future__ import annotations

import numpy as np

from voicetone.types import Floats


def transposed(frames: Floats, shift: float, *, bands: int, lags_per_band: float) -> Floats:
    """Frames `[k, F]` with voices moved up by `shift` mel bands (down if negative).

    Args:
        frames: `bands` mel energies, then the pitch map from short to long lags.
        shift: in mel bands; fractions interpolate, edges repeat.
        bands: how many values are mel energies.
        lags_per_band: how far the pitch map slides for one band.
    """
    out = np.empty_like(frames)
    out[:, :bands] = _slid(frames[:, :bands], -shift)
    if frames.shape[1] > bands:
        out[:, bands:] = _slid(frames[:, bands:], shift * lags_per_band)
    return out


def _slid(values: Floats, offset: float) -> Floats:
    last = values.shape[1] - 1
    place = np.clip(np.arange(last + 1) + offset, 0, last)
    low = place.astype(np.int64)
    high = np.minimum(low + 1, last)
    share = (place - low).astype(np.float32)
    return values[:, low] * (1 - share) + values[:, high] * share
