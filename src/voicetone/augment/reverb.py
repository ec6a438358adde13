"""Reverberation by measured room responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from voicetone.types import Floats, Waveform

DRY = 0.5


class DrawnRoom(NamedTuple):
    """Which of the responses, its samples `[n]`, and the share of the sound that stays dry."""

    place: int
    response: Floats
    dry: float


def reverb(
    wave: Waveform, rng: np.random.Generator, responses: Sequence[Floats], dry: float = DRY
) -> Waveform:
    """The audio in a room drawn from `responses` (each `[n]`), partly dry, level unchanged.

    The direct sound stays where it was, so that frame labels hold.
    """
    drawn = drawn_room(rng, responses, dry)
    return convolved(wave, drawn.response, drawn.dry)


def drawn_room(
    rng: np.random.Generator, responses: Sequence[Floats], dry: float = DRY
) -> DrawnRoom:
    """One of the responses, and a share of up to `dry`."""
    place = int(rng.integers(len(responses)))
    return DrawnRoom(place, responses[place], rng.uniform(0.0, dry))


def convolved(
    wave: Waveform, response: Floats, dry: float = 0.0, direct: int | None = None
) -> Waveform:
    """The audio convolved with a response, its direct sound moved to time zero, level unchanged.

    Args:
        wave: any number of channels.
        response: `[n]`.
        dry: the share of the sound that stays as it was.
        direct: where the direct sound is in the response; its strongest tap by default.
    """
    from scipy.signal import fftconvolve

    first = int(np.argmax(np.abs(response))) if direct is None else direct
    response = response[first:]
    response = response / (np.sqrt((response**2).sum()) + 1e-9)
    wet = fftconvolve(wave.samples, response[None, :], axes=1)[:, : wave.samples.shape[1]]
    mixed = dry * wave.samples + (1.0 - dry) * wet
    before, after = np.sqrt((wave.samples**2).mean()), np.sqrt((mixed**2).mean())
    return Waveform((mixed * (before / (after + 1e-9))).astype(np.float32), wave.sample_rate)
