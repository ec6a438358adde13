"""The full-rate codec of mobile telephones: GSM 06.10 (ETSI EN 300 961), 13 kbit/s at 8 kHz."""

from __future__ import annotations

import io

import numpy as np

from voicetone.types import Floats, Waveform

_RATE = 8000
_BLOCK = 320  # samples; what libsndfile packs together in a WAV file


def through_gsm(wave: Waveform) -> Waveform:
    """The audio encoded and decoded by GSM 06.10, each channel for itself, and back at its rate."""
    narrow = wave.resample(_RATE).samples
    coded = Waveform(np.stack([_coded(row) for row in narrow]), _RATE)
    wide = coded.resample(wave.sample_rate).samples
    out = np.zeros_like(wave.samples)
    length = min(wide.shape[1], out.shape[1])
    out[:, :length] = wide[:, :length]
    return Waveform(out, wave.sample_rate)


def _coded(samples: Floats) -> Floats:
    import soundfile

    padded = np.pad(np.clip(samples, -1.0, 1.0), (0, -len(samples) % _BLOCK))
    if not len(padded):
        return samples
    file = io.BytesIO()
    soundfile.write(file, padded, _RATE, format="WAV", subtype="GSM610")
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    out = np.zeros_like(samples)
    length = min(len(decoded), len(out))
    out[:length] = decoded[:length]
    return out
