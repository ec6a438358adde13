"""Spectral masking (SpecAugment; Park et al., Interspeech 2019) on feature frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voicetone.types import Floats


@dataclass(frozen=True, slots=True)
class Mask:
    """A stretch of bands and a stretch of frames, each with its first place and its length."""

    low: int
    width: int
    start: int
    length: int


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
    drawn = drawn_masks(
        rng, len(frames), bands=bands, widest_band=widest_band, longest=longest, count=count
    )
    return under(frames, drawn, fill)


def drawn_masks(
    rng: np.random.Generator,
    frames: int,
    *,
    bands: int,
    widest_band: int = 10,
    longest: int = 16,
    count: int = 2,
) -> list[Mask]:
    """Masks for so many frames; each hides up to `widest_band` of the `bands` and up to
    `longest` frames, a quarter of them at most, or nothing."""
    found = []
    for _ in range(count):
        width = int(rng.integers(0, widest_band + 1))
        low = int(rng.integers(0, max(bands - width, 1)))
        length = int(rng.integers(0, min(longest, frames // 4) + 1))
        start = int(rng.integers(0, max(frames - length, 1)))
        found.append(Mask(low, width, start, length))
    return found


def under(frames: Floats, masks: list[Mask], fill: Floats) -> Floats:
    """Frames `[k, F]` with what the masks hide replaced by `fill` `[F]`."""
    out = frames.copy()
    for mask in masks:
        hidden = slice(mask.low, mask.low + mask.width)
        out[:, hidden] = fill[hidden]
        out[mask.start : mask.start + mask.length] = fill
    return out
