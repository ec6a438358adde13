"""What telephones do between two changes of the sample rate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from voicetone.types import Floats, Waveform

NARROW_RATE = 8000


def narrowed(wave: Waveform, change: Callable[[Floats], Floats]) -> Waveform:
    """The audio changed at 8 kHz, and back at its rate and length.

    Args:
        wave: of any rate.
        change: samples `[channels, n]` at 8 kHz → the same.
    """
    narrow = Waveform(change(wave.resample(NARROW_RATE).samples), NARROW_RATE)
    wide = narrow.resample(wave.sample_rate).samples
    out = np.zeros_like(wave.samples)
    length = min(wide.shape[1], out.shape[1])
    out[:, :length] = wide[:, :length]
    return Waveform(out, wave.sample_rate)
