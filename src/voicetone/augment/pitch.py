"""Pitch without tempo: speed change, then stretched back by overlap-add at the best match."""

from __future__ import annotations

import numpy as np

from voicetone.augment.speed import at_rate
from voicetone.types import Floats, Waveform

SEMITONES = 2.0
_FRAME = 0.04  # s
_SEARCH = 0.008  # s


def pitch(wave: Waveform, rng: np.random.Generator, semitones: float = SEMITONES) -> Waveform:
    """The audio shifted by up to ±`semitones`, as long as before."""
    return shifted(wave, drawn_shift(rng, semitones))


def drawn_shift(rng: np.random.Generator, semitones: float = SEMITONES) -> float:
    """A shift of up to ±`semitones`, in semitones."""
    return rng.uniform(-semitones, semitones)


def shifted(wave: Waveform, semitones: float) -> Waveform:
    """The audio higher by so many semitones, as long as before."""
    faster = at_rate(wave, 2.0 ** (semitones / 12.0))
    rows = [stretch(row, wave.samples.shape[1], wave.sample_rate) for row in faster.samples]
    return Waveform(np.stack(rows), wave.sample_rate)


def stretch(samples: Floats, length: int, rate: int) -> Floats:
    """Samples `[n]` stretched to `[length]` by waveform-similarity overlap-add (Verhelst and
    Roelands, ICASSP 1993)."""
    frame, search = int(_FRAME * rate) // 2 * 2, int(_SEARCH * rate)
    hop = frame // 2
    if len(samples) < frame + 2 * search:
        return np.resize(samples, length).astype(np.float32) if len(samples) else samples
    ratio = len(samples) / max(length, 1)
    padded = np.pad(samples, (search, frame + 2 * search + hop))
    window = np.hanning(frame + 1)[:-1].astype(np.float32)
    out = np.zeros(length + 2 * frame, dtype=np.float32)
    position = 0
    for start in range(0, length, hop):
        wanted = int(start * ratio)
        if start:
            target = padded[position + hop : position + hop + frame]
            area = padded[wanted : wanted + frame + 2 * search]
            target = target[: len(area)]
            position = wanted + int(np.argmax(np.correlate(area, target, mode="valid")))
        else:
            position = search
        piece = padded[position : position + frame]
        out[start : start + len(piece)] += piece * window[: len(piece)]
    return out[:length]
