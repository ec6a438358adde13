"""Codecs of telephone networks: G.711 in its two laws, and GSM 06.10."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from voicetone.audio.telephony import alaw_decode, alaw_encode, mulaw_decode, mulaw_encode
from voicetone.augment.gsm import through_gsm
from voicetone.augment.narrow import narrowed
from voicetone.types import Waveform


def through_mulaw(wave: Waveform) -> Waveform:
    """The audio in G.711 μ-law, 64 kbit/s at 8 kHz, and back at its rate."""
    return narrowed(wave, lambda narrow: mulaw_decode(mulaw_encode(narrow)))


def through_alaw(wave: Waveform) -> Waveform:
    """The audio in G.711 A-law, 64 kbit/s at 8 kHz, and back at its rate."""
    return narrowed(wave, lambda narrow: alaw_decode(alaw_encode(narrow)))


CODECS: Mapping[str, Callable[[Waveform], Waveform]] = MappingProxyType(
    {"mu-law": through_mulaw, "a-law": through_alaw, "gsm": through_gsm}
)


def codec(wave: Waveform, rng: np.random.Generator) -> Waveform:
    """The audio encoded and decoded by a drawn codec, samples beyond full scale clipped."""
    return CODECS[drawn_codec(rng)](wave)


def drawn_codec(rng: np.random.Generator) -> str:
    """The name of one of `CODECS`."""
    return list(CODECS)[int(rng.integers(len(CODECS)))]
