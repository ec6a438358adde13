"""Spectral masking (SpecAugment; Park et al., Interspeech 2019) on feature frames."""

from __future__ import annotations

import numpy as np

from voicetone.types import Floats


def masked(
    frames: Floats,
    rng: np.random.Generator,
    *,
    bands: int,
    fill: Floats,
    widest_band: int = 10,
    longest: int = 16,
    count: int = 2,
) -> Floats:
    """Frames `[k, F]` with `count` stretches of time and of the first `bands` features
    replaced by `fill` `[F]`."""
    out = frames.copy()
    for _ in range(count):
        width = int(rng.integers(0, widest_band + 1))
        low = int(rng.integers(0, max(bands - width, 1)))
        out[:, low : low + width] = fill[low : low + width]
        length = int(rng.integers(0, min(longest, len(out) // 4) + 1))
        start = int(rng.integers(0, max(len(out) - length, 1)))
        out[start : start + length] = fill
    return out
