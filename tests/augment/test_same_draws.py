"""A model that was trained before can be trained again: transforms draw what they always drew.

Expected are numbers of the transforms before their draws could be had apart, for `generator(seed,
name)` on one second of tones: level of what comes out, its length, and the generator's next draw,
which tells how much was drawn.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from voicetone.augment.draws import generator
from voicetone.augment.gain import drawn_gain, gain, louder
from voicetone.augment.masking import drawn_masks, masked, under
from voicetone.augment.noise import drawn_noise, mixed, noise
from voicetone.augment.pitch import drawn_shift, pitch, shifted
from voicetone.augment.reverb import convolved, drawn_room, reverb
from voicetone.augment.speed import at_rate, drawn_rate, speed
from voicetone.augment.telephone import drawn_line, telephone, through_line
from voicetone.types import Floats, Waveform

RATE = 16_000
Transform = Callable[[Waveform, np.random.Generator], Waveform]


def tones() -> Waveform:
    time = np.arange(RATE) / RATE
    sound = sum(np.sin(2 * np.pi * 220 * k * time) / k for k in range(1, 6))
    return Waveform((0.1 * (0.5 + 0.5 * np.sin(6 * np.pi * time)) * sound).astype("f4")[None], RATE)


def room(seed: int) -> Floats:
    fading = np.exp(-np.arange(800) / 100)
    return (fading * np.random.default_rng(seed).normal(0, 1, 800)).astype(np.float32)


NOISES = [
    np.random.default_rng(9 + k).normal(0, 0.1, 5000 + k).astype(np.float32) for k in range(3)
]
ROOMS = [room(k) for k in range(3)]
WHOLE: dict[str, Transform] = {
    "gain": gain,
    "noise": lambda w, r: noise(w, r, NOISES),
    "pitch": pitch,
    "reverb": lambda w, r: reverb(w, r, ROOMS),
    "speed": speed,
    "telephone": telephone,
}


def _noise(wave: Waveform, rng: np.random.Generator) -> Waveform:
    drawn = drawn_noise(rng, NOISES)
    return mixed(wave, drawn.sound, drawn.snr)


def _reverb(wave: Waveform, rng: np.random.Generator) -> Waveform:
    drawn = drawn_room(rng, ROOMS)
    assert drawn.response is ROOMS[drawn.place]
    return convolved(wave, drawn.response, drawn.dry)


def _telephone(wave: Waveform, rng: np.random.Generator) -> Waveform:
    line = drawn_line(rng)
    return through_line(wave, line.low, line.high, companded=line.companded)


IN_TWO: dict[str, Transform] = {
    "gain": lambda w, r: louder(w, drawn_gain(r)),
    "noise": _noise,
    "pitch": lambda w, r: shifted(w, drawn_shift(r)),
    "reverb": _reverb,
    "speed": lambda w, r: at_rate(w, drawn_rate(r)),
    "telephone": _telephone,
}
EXPECTED = {
    "gain": [(0.042574, 16000, 0.14675885151090662), (0.043658, 16000, 0.5666540652489443)],
    "noise": [(0.070108, 16000, 0.14218300075751866), (0.054317, 16000, 0.1174437077237579)],
    "pitch": [(0.054184, 16000, 0.9077233993268881), (0.05436, 16000, 0.16210586517917291)],
    "reverb": [(0.052386, 16000, 0.6875458058882574), (0.052386, 16000, 0.5951538799586827)],
    "speed": [(0.052386, 16000, 0.32069124221901335), (0.052386, 16842, 0.05223178619168012)],
    "telephone": [(0.045462, 16000, 0.431827948412987), (0.034396, 16000, 0.06419416288970115)],
}


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("seed", [0, 1])
def test_transforms(name: str, seed: int) -> None:
    level, length, after = EXPECTED[name][seed]
    rng = generator(seed, name)
    out = WHOLE[name](tones(), rng).samples
    assert out.shape[1] == length
    assert float(np.sqrt((out**2).mean())) == pytest.approx(level, rel=1e-3)
    assert rng.random() == after
    rng = generator(seed, name)
    np.testing.assert_array_equal(IN_TWO[name](tones(), rng).samples, out)
    assert rng.random() == after


@pytest.mark.parametrize(
    ("seed", "share", "after"),
    [(0, 0.1125, 0.4220417242250324), (1, 0.257572, 0.42162736931094025), (2, 0.349159, None)],
)
def test_masks(seed: int, share: float, after: float | None) -> None:
    frames = np.random.default_rng(0).normal(size=(80, 104)).astype(np.float32)
    fill = np.full(104, 9, dtype=np.float32)
    rng = generator(seed, "m")
    out = masked(frames, rng, bands=64, fill=fill)
    assert (out == 9).mean() == pytest.approx(share, abs=1e-6)
    if after is not None:
        assert rng.random() == after
    masks = drawn_masks(generator(seed, "m"), 80, bands=64)
    np.testing.assert_array_equal(under(frames, masks, fill), out)
