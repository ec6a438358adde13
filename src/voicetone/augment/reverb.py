"""Reverberation by measured room responses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from voicetone.types import Floats, Waveform


def reverb(
    wave: Waveform, rng: np.random.Generator, responses: Sequence[Floats], dry: float = 0.5
) -> Waveform:
    """The audio in a room drawn from `responses` (each `[n]`), partly dry, level unchanged.

    The direct sound stays where it was, so that frame labels hold.
    """
    response = responses[int(rng.integers(len(responses)))]
    share = rng.uniform(0.0, dry)
    return convolved(wave, response, share)


def convolved(wave: Waveform, response: Floats, dry: float = 0.0) -> Waveform:
    """The audio convolved with a response, its strongest tap moved to time zero."""
    from scipy.signal import fftconvolve

    response = response[int(np.argmax(np.abs(response))) :]
    response = response / (np.sqrt((response**2).sum()) + 1e-9)
    wet = fftconvolve(wave.samples, response[None, :], axes=1)[:, : wave.samples.shape[1]]
    mixed = dry * wave.samples + (1.0 - dry) * wet
    before, after = np.sqrt((wave.samples**2).mean()), np.sqrt((mixed**2).mean())
    return Waveform((mixed * (before / (after + 1e-9))).astype(np.float32), wave.sample_rate)
