"""The full-rate codec of mobile telephones: GSM 06.10 (ETSI EN 300 961), 13 kbit/s at 8 kHz."""

from __future__ import annotations

import io

import numpy as np

from voicetone.augment.narrow import NARROW_RATE, narrowed
from voicetone.types import Floats, Waveform

_BLOCK = 320  # samples; what libsndfile packs together in a WAV file


def through_gsm(wave: Waveform) -> Waveform:
    """The audio encoded and decoded by GSM 06.10, each channel for itself, and back at its rate."""
    return narrowed(wave, lambda narrow: np.stack([_coded(row) for row in narrow]))


def _coded(samples: Floats) -> Floats:
    import soundfile

    padded = np.pad(np.clip(samples, -1.0, 1.0), (0, -len(samples) % _BLOCK))
    if not len(padded):
        return samples
    file = io.BytesIO()
    soundfile.write(file, padded, NARROW_RATE, format="WAV", subtype="GSM610")
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    out = np.zeros_like(samples)
    length = min(len(decoded), len(out))
    out[:length] = decoded[:length]
    return out
