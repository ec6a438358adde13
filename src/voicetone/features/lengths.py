"""Frames brought to the number that a network takes."""

from __future__ import annotations

import numpy as np

from voicetone.types import Floats


def stepped(frames: Floats, step: int) -> Floats:
    """Means of `step` frames each `[t, features]` → `[t / step, features]`.

    What is left over at the end is dropped, unless there is nothing else.
    """
    if step == 1:
        return frames
    whole = len(frames) // step * step
    if not whole:
        return np.asarray(frames.mean(0, keepdims=True))
    return np.asarray(frames[:whole].reshape(-1, step, frames.shape[1]).mean(1))


def fitted(frames: Floats, length: int) -> tuple[Floats, Floats]:
    """Frames `[t, features]` as `[length, features]`, and which of them are real `[length]`.

    Zeros follow the end of a shorter stretch; of a longer one the middle is taken.
    """
    start = max((len(frames) - length) // 2, 0)
    part = frames[start : start + length]
    out = np.zeros((length, frames.shape[1]), dtype=np.float32)
    mask = np.zeros(length, dtype=np.float32)
    out[: len(part)], mask[: len(part)] = part, 1.0
    return out, mask
