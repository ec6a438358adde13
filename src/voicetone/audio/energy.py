"""Where somebody may be speaking, by energy alone: for models that do not say so themselves.

A frame counts by how far its level lies above the quietest that the channel has been lately. That
follows a voice in a quiet room; it can't tell speech from any other sound.
"""

from __future__ import annotations

import numpy as np

from voicetone.audio.units import FRAME_SECONDS
from voicetone.types import Floats

QUIETEST = -60.0  # dB below full scale (RMS): the floor is never taken to be under this
RISE = 3.0 * FRAME_SECONDS  # dB per frame: how fast the floor follows a room that gets louder
ABOVE = 12.0  # dB over the floor at which speech and none are equally likely
SLOPE = 3.0  # dB that change the odds by a factor of e


def energy_presence(frames: Floats, floor: Floats) -> tuple[Floats, Floats]:
    """How likely speech is, from the level of each frame over that of the background.

    The floor falls to a quieter frame at once and rises by 3 dB a second. The probability is
    `1 / (1 + exp(-(level - floor - 12 dB) / 3 dB))`, level being the frame's RMS in dB.

    Args:
        frames: audio `[B, n, samples]`, full scale is ±1.
        floor: of each stream before them, in dB over -60: `[B, 1]`, zeros at its start.

    Returns:
        Probability `[B, n]`, and the floor after them `[B, 1]`.
    """
    power = np.square(frames).mean(axis=2)
    over = np.maximum(10 * np.log10(power + np.float32(1e-12)) - QUIETEST, 0).astype(np.float32)
    low = floor[:, 0]
    lows = np.empty_like(over)
    for index, level in enumerate(over.T):
        low = np.minimum(level, low + np.float32(RISE))
        lows[:, index] = low
    odds = (over - lows - np.float32(ABOVE)) / np.float32(SLOPE)
    return 1 / (1 + np.exp(-odds)), low[:, None].copy()
