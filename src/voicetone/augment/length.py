"""A little less or more at one end, as another trimming of the same recording would give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from voicetone.types import Waveform

COUNTS = (100, 500, 1000)  # samples


def crop(wave: Waveform, rng: np.random.Generator, counts: Sequence[int] = COUNTS) -> Waveform:
    """The audio without a drawn number of samples at a drawn end; half of it stays at least."""
    count = min(int(rng.choice(np.asarray(counts))), wave.samples.shape[1] // 2)
    first, last = (count, None) if rng.random() < 0.5 else (0, wave.samples.shape[1] - count)
    return Waveform(wave.samples[:, first:last], wave.sample_rate)


def pad(wave: Waveform, rng: np.random.Generator, counts: Sequence[int] = COUNTS) -> Waveform:
    """The audio with a drawn number of zeros at a drawn end."""
    count = int(rng.choice(np.asarray(counts)))
    ends = (count, 0) if rng.random() < 0.5 else (0, count)
    return Waveform(np.pad(wave.samples, ((0, 0), ends)), wave.sample_rate)
