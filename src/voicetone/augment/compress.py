"""Dynamic range compression, as telephones and recorders do it."""

from __future__ import annotations

import numpy as np

from voicetone.types import Waveform

_STEP = 0.001  # s: the level is followed in steps of this


def compressed(
    wave: Waveform,
    threshold: float = -20.0,
    ratio: float = 0.8,
    attack: float = 0.01,
    release: float = 0.02,
) -> Waveform:
    """The audio with what is louder than `threshold` rising by `ratio` dB for each dB.

    Args:
        wave: any number of channels, which share one gain.
        threshold: dB of full scale.
        ratio: under 1 makes loud parts quieter.
        attack: seconds in which the gain follows a rising level.
        release: seconds in which it follows a falling one.
    """
    step = max(1, round(_STEP * wave.sample_rate))
    length = wave.samples.shape[1]
    if not length:
        return wave
    starts = np.arange(0, length, step)
    peaks = np.maximum.reduceat(np.abs(wave.samples).max(axis=0), starts)
    up, down = (1.0 - np.exp(-_STEP / seconds) for seconds in (attack, release))
    level, levels = 0.0, []
    for peak in peaks.tolist():
        level += (up if peak > level else down) * (peak - level)
        levels.append(level)
    over = np.maximum(20 * np.log10(np.maximum(levels, 1e-6)) - threshold, 0.0)
    gain = np.interp(np.arange(length), starts, 10 ** ((ratio - 1.0) * over / 20))
    return Waveform((wave.samples * gain).astype(np.float32), wave.sample_rate)
