"""Changes of the audio one at a time, each with what was drawn for it in words.

They are the transforms that training applies, by the same draws. `Heard` says what came of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from voicetone.augment.codec import CODECS, drawn_codec
from voicetone.augment.colours import pink
from voicetone.augment.gain import drawn_gain, louder
from voicetone.augment.noise import LOUDEST, QUIETEST, drawn_noise, mixed
from voicetone.augment.pitch import drawn_shift, shifted
from voicetone.augment.reverb import DRY, convolved, drawn_room
from voicetone.augment.rooms import drawn_box, response
from voicetone.augment.speed import RATES, at_rate, drawn_rate
from voicetone.augment.telephone import drawn_line, through_line
from voicetone.types import Floats, Waveform

_CODEC_NAMES = {"mu-law": "G.711 μ-law", "a-law": "G.711 A-law", "gsm": "GSM 06.10"}


@dataclass(frozen=True, slots=True)
class Library:
    """Recorded sounds and room responses, each `[n]` at the rate of the audio, and their names."""

    noises: Sequence[Floats] = ()
    noise_names: Sequence[str] = ()
    rooms: Sequence[Floats] = ()
    room_names: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of a change.

    Attributes:
        change: its name.
        value: what was drawn, in as few characters as a file's name has room for.
        words: the same as a sentence.
        wave: the audio.
        drawn: the same as numbers and names.
    """

    change: str
    value: str
    words: str
    wave: Waveform
    drawn: Mapping[str, float | str | bool] = field(default_factory=dict)


Made = tuple[str, str, Waveform, Mapping[str, float | str | bool]]
Maker = Callable[[Waveform, np.random.Generator, Library], Made]


def _speed(wave: Waveform, rng: np.random.Generator, _: Library) -> Made:
    # As recorded, the third of the rates, is not to be heard here.
    rate = drawn_rate(rng, [rate for rate in RATES if rate != 1.0])
    way = "faster: shorter, and the voice higher" if rate > 1 else "slower: longer, the voice lower"
    words = f"{abs(rate - 1):.0%} {way}.".replace("%", " %")
    return f"{100 * rate:.0f}percent", words, at_rate(wave, rate), {"rate": rate}


def _pitch(wave: Waveform, rng: np.random.Generator, _: Library) -> Made:
    shift = drawn_shift(rng)
    way = ("up", "higher") if shift > 0 else ("down", "lower")
    words = f"The voice {abs(shift):.1f} semitones {way[1]}, as fast as before."
    value = f"{way[0]}-{abs(shift):.1f}semitones"
    return value, words, shifted(wave, shift), {"semitones": shift}


def _room(wave: Waveform, rng: np.random.Generator, _: Library) -> Made:
    room = drawn_box(rng)
    dry = rng.uniform(0.0, DRY)
    sides = " × ".join(f"{side:.1f}" for side in room.size)
    words = (
        f"A simulated room of {sides} m in which sound dies away in {room.rt60:.2f} s, heard from "
        f"{room.distance:.1f} m; {100 * dry:.0f} % of the sound is without it."
    )
    out = convolved(wave, response(room, wave.sample_rate), dry, direct=0)
    drawn = {"rt60": room.rt60, "metres": room.distance, "dry": dry}
    return f"{room.rt60:.2f}s", words, out, drawn


def _reverb(wave: Waveform, rng: np.random.Generator, library: Library) -> Made:
    place, taps, dry = drawn_room(rng, library.rooms)
    name = library.room_names[place]
    words = f"The measured response {name}; {100 * dry:.0f} % of the sound is without it."
    return name, words, convolved(wave, taps, dry), {"response": name, "dry": dry}


def _noise(wave: Waveform, rng: np.random.Generator, library: Library) -> Made:
    if len(library.noises):
        place, sound, ratio = drawn_noise(rng, library.noises)
        name = library.noise_names[place]
        what = f"The recorded noise {name}"
    else:
        sound, ratio = pink(wave.samples.shape[1], rng), rng.uniform(LOUDEST, QUIETEST)
        name, what = "pink", "Pink noise, for lack of recorded ones (--noise FOLDER)"
    words = f"{what}, {ratio:.1f} dB below the speech."
    return f"{ratio:.1f}dB", words, mixed(wave, sound, ratio), {"snr": ratio, "noise": name}


def _telephone(wave: Waveform, rng: np.random.Generator, _: Library) -> Made:
    low, high, companded = drawn_line(rng)
    coded = "8-bit μ-law" if companded else "not companded"
    words = f"A telephone line from {low:.0f} to {high:.0f} Hz, {coded}."
    out = through_line(wave, low, high, companded=companded)
    value = f"{low:.0f}-{high:.0f}Hz" + ("-mulaw" if companded else "")
    return value, words, out, {"low": low, "high": high, "companded": companded}


def _codec(wave: Waveform, rng: np.random.Generator, _: Library) -> Made:
    name = drawn_codec(rng)
    words = f"The codec {_CODEC_NAMES[name]} at 8 kHz, and back."
    return name, words, CODECS[name](wave), {"codec": name}


def _gain(wave: Waveform, rng: np.random.Generator, _: Library) -> Made:
    decibels = drawn_gain(rng)
    way = ("up", "louder") if decibels > 0 else ("down", "quieter")
    clipped = " What goes beyond full scale is clipped." if decibels > 0 else ""
    words = f"{abs(decibels):.1f} dB {way[1]}.{clipped}"
    value = f"{way[0]}-{abs(decibels):.1f}dB"
    return value, words, louder(wave, decibels), {"decibels": decibels}


MAKERS: Mapping[str, Maker] = MappingProxyType(
    {
        "speed": _speed,
        "pitch": _pitch,
        "reverb": _reverb,
        "room": _room,
        "noise": _noise,
        "telephone": _telephone,
        "codec": _codec,
        "gain": _gain,
    }
)
"""Changes in the order in which they are applied together."""
_ONE_OF = ({"reverb", "room"}, {"telephone", "codec"})


def heard(change: str, wave: Waveform, rng: np.random.Generator, library: Library) -> Heard:
    """One change with drawn values.

    Args:
        change: a name in `MAKERS`; `reverb` needs rooms in the library.
        wave: the audio.
        rng: what is drawn from.
        library: recorded sounds.

    Raises:
        MissingExtraError: of `room`, where pyroomacoustics is not installed.
    """
    value, words, out, drawn = MAKERS[change](wave, rng, library)
    return Heard(change, value, words, out, drawn)


def together(
    changes: Sequence[str], wave: Waveform, rng: np.random.Generator, library: Library
) -> tuple[Waveform, list[Heard]]:
    """Changes one after another in the order of `MAKERS`; of two rooms and of two telephones one
    is drawn. Returns what comes out, and each step."""
    chosen = set(changes)
    for alternatives in _ONE_OF:
        both = [name for name in MAKERS if name in alternatives & chosen]
        if len(both) > 1:
            chosen.discard(both[int(rng.integers(len(both)))])
    steps = []
    for name in MAKERS:
        if name in chosen:
            steps.append(heard(name, wave, rng, library))
            wave = steps[-1].wave
    return wave, steps
