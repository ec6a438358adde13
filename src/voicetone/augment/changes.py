"""The changes of the audio that a model is tried on, by name.

Definitions: Derington et al. (arXiv 2312.06270), where they have them; a signal-to-noise ratio is
against the loud frames of the speech (see `noise.mixed`), and can be any number of dB.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np

from voicetone.augment.babble import Voice, babble
from voicetone.augment.colours import pink, white
from voicetone.augment.filters import high_pass, low_pass
from voicetone.augment.gain import louder
from voicetone.augment.gsm import through_gsm
from voicetone.augment.length import crop, pad
from voicetone.augment.noise import mixed, noise
from voicetone.augment.phone import poor_phone
from voicetone.augment.reverb import reverb
from voicetone.augment.telephone import through_line
from voicetone.errors import UsageError
from voicetone.types import Floats, Waveform

GAINS = (-2.0, -1.0, 1.0, 2.0)  # dB
LEVELS = (20.0, 15.0, 10.0, 5.0, 0.0)  # dB


@dataclass(frozen=True, slots=True)
class Sounds:
    """What changes draw from, at the rate of the audio; each sound or response is `[n]`."""

    noises: Sequence[Floats] = ()
    coughs: Sequence[Floats] = ()
    music: Sequence[Floats] = ()
    rooms: Sequence[Floats] = ()
    voices: Sequence[Voice] = ()


Drawn = Callable[[Waveform, np.random.Generator, Sounds], Waveform]
Noisy = Callable[[Waveform, np.random.Generator, Sounds, float], Waveform]


def _recorded(
    kind: str, wave: Waveform, rng: np.random.Generator, sounds: Sounds, snr: float
) -> Waveform:
    return noise(wave, rng, getattr(sounds, kind), snr, snr)


def _made(
    make: Callable[[int, np.random.Generator], Floats],
    wave: Waveform,
    rng: np.random.Generator,
    _: Sounds,
    snr: float,
) -> Waveform:
    return mixed(wave, make(wave.samples.shape[1], rng), snr)


def _gain(wave: Waveform, rng: np.random.Generator, _: Sounds) -> Waveform:
    return louder(wave, float(rng.choice(np.asarray(GAINS))))


def _line(wave: Waveform) -> Waveform:
    return through_line(wave, 300.0, 3400.0, companded=True)


NOISES: Mapping[str, Noisy] = MappingProxyType(
    {
        "babble": lambda wave, rng, sounds, snr: babble(wave, rng, list(sounds.voices), snr),
        "environment": partial(_recorded, "noises"),
        "music": partial(_recorded, "music"),
        "cough": partial(_recorded, "coughs"),
        "white noise": partial(_made, white),
        "pink noise": partial(_made, pink),
    }
)
"""Kinds of noise; a condition also says at how many dB, as in `babble 20 dB`."""
OTHERS: Mapping[str, Drawn] = MappingProxyType(
    {
        "reverberation": lambda wave, rng, sounds: reverb(wave, rng, sounds.rooms, 0.0),
        "telephone G.711": lambda wave, rng, _: poor_phone(wave, rng, _line),
        "telephone GSM": lambda wave, rng, _: poor_phone(wave, rng, through_gsm),
        "gain": _gain,
        "crop": lambda wave, rng, _: crop(wave, rng),
        "pad": lambda wave, rng, _: pad(wave, rng),
        "high-pass": lambda wave, rng, _: high_pass(wave, rng),
        "low-pass": lambda wave, rng, _: low_pass(wave, rng),
    }
)
NEEDS: Mapping[str, str] = MappingProxyType(
    {
        "babble": "voices",
        "environment": "noises",
        "music": "music",
        "cough": "coughs",
        "reverberation": "rooms",
    }
)
"""Kind → the field of `Sounds` that must not be empty."""
USUAL = (
    *(f"{kind} {snr:g} dB" for kind in ("babble", "environment", "music") for snr in LEVELS),
    *(f"white noise {snr:g} dB" for snr in (45.0, 35.0, *LEVELS)),
    "cough 10 dB",
    *OTHERS,
)
"""The conditions of a sweep that names none."""
_NOISY = re.compile(r"(?P<kind>.+?) +(?P<snr>[+-]?\d{1,3}(\.\d{1,3})?) *dB")


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the audio: a kind and, for noise, the signal-to-noise ratio in dB."""

    kind: str
    snr: float | None = None

    @property
    def name(self) -> str:
        """As reports print it."""
        return self.kind if self.snr is None else f"{self.kind} {self.snr:g} dB"

    @property
    def needs(self) -> str | None:
        """The field of `Sounds` that it draws from."""
        return NEEDS.get(self.kind)

    def apply(self, wave: Waveform, rng: np.random.Generator, sounds: Sounds) -> Waveform:
        """The changed audio; all that is random is drawn from `rng`."""
        if self.snr is not None:
            return NOISES[self.kind](wave, rng, sounds, self.snr)
        return OTHERS[self.kind](wave, rng, sounds)


def changes(text: str = "") -> tuple[Change, ...]:
    """The changes that a text names, separated by commas; the usual ones if it is empty.

    A kind of noise without a level stands for its usual levels.

    Raises:
        UsageError: a name that is not known.
    """
    words = [word.strip() for word in text.split(",")] if text.strip() else list(USUAL)
    found = [change for word in words for change in _named(word)]
    return tuple(dict.fromkeys(found))


def _named(word: str) -> list[Change]:
    if word in OTHERS:
        return [Change(word)]
    usual = [name for name in USUAL if name.startswith(f"{word} ") and word in NOISES]
    names = usual or ([f"{word} {snr:g} dB" for snr in LEVELS] if word in NOISES else [word])
    out = []
    for name in names:
        match = _NOISY.fullmatch(name)
        if match is None or match["kind"] not in NOISES:
            known = ", ".join([*(f"{kind} 20 dB" for kind in NOISES), *OTHERS])
            raise UsageError(f"--conditions {word!r}: not known: use any of {known}")
        out.append(Change(match["kind"], float(match["snr"])))
    return out
