"""Babble: several other people who speak at the same time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from voicetone.augment.noise import active_power, mixed
from voicetone.types import Floats, Waveform

FEWEST, MOST = 3, 7  # voices

Voice = Callable[[], Floats]
"""Gives one voice `[n]` at the rate of the audio, when it is called for."""


def babble(
    wave: Waveform, rng: np.random.Generator, voices: list[Voice], snr: float = 20.0
) -> Waveform:
    """The audio with 3 to 7 of `voices`, equally loud, at `snr` dB."""
    count = min(int(rng.integers(FEWEST, MOST + 1)), len(voices))
    crowd = np.zeros(wave.samples.shape[1], dtype=np.float32)
    for place in rng.choice(len(voices), count, replace=False).tolist():
        voice = voices[place]()
        voice = np.resize(np.roll(voice, int(rng.integers(max(len(voice), 1)))), len(crowd))
        crowd += voice / np.float32(np.sqrt(active_power(voice, wave.sample_rate)) + 1e-6)
    return mixed(wave, crowd, snr)
