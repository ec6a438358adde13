"""The outline of a recording for a picture, in memory that does not grow with its length."""

from __future__ import annotations

import numpy as np

from voicetone.types import Floats


class Overview:
    """Collects the least and greatest sample of equal stretches of each analysed channel.

    A stretch starts as one sample; whenever there are too many, neighbours are joined.

    Args:
        bins: the least number of stretches in a long recording; there are less than twice as
            many, and in a short one no more than it has samples.
    """

    def __init__(self, bins: int = 1000) -> None:
        self._capacity = 2 * bins
        self._width = 1  # samples in a stretch
        self._count = 0  # samples so far
        self._low = np.zeros((0, 0), dtype=np.float32)
        self._high = np.zeros((0, 0), dtype=np.float32)

    def push(self, block: Floats) -> None:
        """Take the next samples `[channels, n]`."""
        channels, size = block.shape
        if not size:
            return
        if not self._count:
            self._low = self._high = np.zeros((channels, 0), dtype=np.float32)
        while -(-(self._count + size) // self._width) > self._capacity:
            self._join()
        offset = -self._count % self._width  # samples that still belong to the last stretch
        if offset:
            head = block[:, :offset]
            self._low[:, -1] = np.minimum(self._low[:, -1], head.min(axis=1))
            self._high[:, -1] = np.maximum(self._high[:, -1], head.max(axis=1))
        if offset < size:
            starts = np.arange(offset, size, self._width)
            low = np.minimum.reduceat(block, starts, axis=1)
            high = np.maximum.reduceat(block, starts, axis=1)
            self._low = np.concatenate([self._low, low], axis=1)
            self._high = np.concatenate([self._high, high], axis=1)
        self._count += size

    def peaks(self) -> Floats:
        """float32 `[channels, bins, 2]`: least and greatest sample, channels as in the result."""
        return np.stack([self._low, self._high], axis=2)

    def _join(self) -> None:
        self._width *= 2
        if not self._low.shape[1]:
            return
        starts = np.arange(0, self._low.shape[1], 2)
        self._low = np.minimum.reduceat(self._low, starts, axis=1)
        self._high = np.maximum.reduceat(self._high, starts, axis=1)
