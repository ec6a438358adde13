"""A poor telephone: compression, a narrow-band codec, hiss.

The chain is that of Derington et al. (arXiv 2312.06270), but for the codec: theirs is AMR-NB at
7.4 kbit/s, which the libraries that voicetone brings can't encode.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from voicetone.augment.colours import pink
from voicetone.augment.compress import compressed
from voicetone.augment.filters import filtered
from voicetone.types import Waveform

HISS = -25.0  # dB of full scale, RMS before the high-pass
HISS_FROM = 3000.0  # Hz


def poor_phone(
    wave: Waveform, rng: np.random.Generator, codec: Callable[[Waveform], Waveform]
) -> Waveform:
    """The audio compressed, through `codec`, at full scale, with pink noise over 3 kHz added."""
    wave = codec(compressed(wave))
    peak = float(np.abs(wave.samples).max(initial=0.0))
    loud = wave.samples / np.float32(peak) if peak > 0 else wave.samples
    hiss = Waveform(pink(wave.samples.shape[1], rng)[None], wave.sample_rate)
    hiss = filtered(hiss, HISS_FROM, "highpass", order=2)
    return Waveform(loud + np.float32(10 ** (HISS / 20)) * hiss.samples, wave.sample_rate)
