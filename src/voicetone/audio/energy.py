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
EDGE = 4  # frames, 125 ms: what is soft at the ends of an utterance
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
    over = _over_quietest(frames)
    low = floor[:, 0]
    lows = np.empty_like(over)
    for index, level in enumerate(over.T):
        low = np.minimum(level, low + np.float32(RISE))
        lows[:, index] = low
    odds = (over - lows - np.float32(ABOVE)) / np.float32(SLOPE)
    return 1 / (1 + np.exp(-odds)), low[:, None].copy()


def speech_span(frames: Floats, threshold: float) -> tuple[int, int]:
    """From the first to the last frame of a window that may be speech, with `EDGE` around them.

    The background is the window's quietest frame.

    Args:
        frames: audio `[n, samples]`, n > 0.
        threshold: of the probability.

    Returns:
        First frame, and the one after the last; all frames where none stands out.
    """
    floor = _over_quietest(frames[None]).min(axis=1, keepdims=True)
    loud = np.flatnonzero(energy_presence(frames[None], floor)[0][0] >= threshold)
    if not loud.size:
        return 0, len(frames)
    return max(0, int(loud[0]) - EDGE), min(len(frames), int(loud[-1]) + 1 + EDGE)


def _over_quietest(frames: Floats) -> Floats:
    """Levels `[B, n]` in dB over -60."""
    power = np.square(frames).mean(axis=2)
    levels = 10 * np.log10(power + np.float32(1e-12)) - QUIETEST
    return np.asarray(np.maximum(levels, 0), dtype=np.float32)
