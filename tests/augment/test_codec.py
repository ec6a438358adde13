"""Codecs: what they are said to do to samples, and seeded."""

from __future__ import annotations

import numpy as np
import pytest

from voicetone.augment.codec import CODECS, codec, drawn_codec
from voicetone.augment.draws import generator
from voicetone.types import Waveform


def speechlike(rate: int) -> Waveform:
    time = np.arange(rate) / rate
    sound = sum(np.sin(2 * np.pi * 150 * k * time) / k for k in range(1, 18))
    return Waveform((0.1 * sound).astype(np.float32)[None], rate)


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("rate", [8_000, 16_000])
def test_narrow_band_in_step_and_nearly_the_same(name: str, rate: int) -> None:
    wave = speechlike(rate)
    out = CODECS[name](wave)
    assert out.samples.shape == wave.samples.shape
    narrow = wave.resample(8000).samples[0, 1000:7000]
    heard = out.resample(8000).samples[0, 1000:7000]
    assert not np.array_equal(heard, narrow)
    assert np.corrcoef(heard, narrow)[0, 1] > (0.8 if name == "gsm" else 0.999)


def test_the_laws_differ_and_have_256_values() -> None:
    wave = Waveform(np.linspace(-1, 1, 20_001, dtype=np.float32)[None], 8000)
    mu, a = (CODECS[name](wave).samples for name in ("mu-law", "a-law"))
    assert not np.array_equal(mu, a)
    assert len(np.unique(np.abs(mu))) == len(np.unique(np.abs(a))) == 128


def test_beyond_full_scale_is_clipped_and_all_are_drawn() -> None:
    loud = Waveform(np.full((1, 400), 3.0, dtype=np.float32), 8000)
    for change in CODECS.values():
        assert np.abs(change(loud).samples).max() <= 1.01
    assert {drawn_codec(generator(seed)) for seed in range(40)} == set(CODECS)
    np.testing.assert_array_equal(
        codec(loud, generator(2)).samples, CODECS[drawn_codec(generator(2))](loud).samples
    )
