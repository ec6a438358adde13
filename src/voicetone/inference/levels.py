"""Silence and clipping, from the samples as they came, before any resampling."""

from __future__ import annotations

import numpy as np

from voicetone.types import Floats

FULL_SCALE = 0.999  # |x| from which a sample may be cut off
RUN = 4  # equal consecutive samples there: the flat top of a wave
SHARE = 0.001  # of all samples there: cut off, then coded or resampled, so no longer flat


class Levels:
    """Watches one channel.

    It is `clipped` when 4 or more consecutive samples have one and the same value with
    |x| ≥ 0.999, or when more than 0.1 % of all samples have |x| ≥ 0.999.
    """

    def __init__(self) -> None:
        self._count = 0
        self._extreme = 0
        self._flat = False
        self._sound = False
        self._tail = np.zeros(0, dtype=np.float32)

    def push(self, samples: Floats) -> None:
        """Take the next samples `[n]`."""
        if not samples.size:
            return
        self._count += samples.size
        self._sound = self._sound or bool(samples.any())
        seen = np.concatenate([self._tail, samples])
        self._tail = seen[-(RUN - 1) :].copy()
        hot = np.abs(samples) >= FULL_SCALE
        if not hot.any():  # a run ends with a sample that was hot when it came
            return
        self._extreme += int(hot.sum())
        if not self._flat and seen.size >= RUN:
            stretch = np.lib.stride_tricks.sliding_window_view(seen, RUN)
            equal = (stretch == stretch[:, :1]).all(axis=1)
            self._flat = bool((equal & (np.abs(stretch[:, 0]) >= FULL_SCALE)).any())

    @property
    def silent(self) -> bool:
        """Samples came and every one was zero."""
        return self._count > 0 and not self._sound

    @property
    def clipped(self) -> bool:
        """The channel was overdriven."""
        return self._flat or self._extreme > SHARE * self._count
