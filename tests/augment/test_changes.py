"""The conditions of a robustness sweep: named, seeded, and doing what their names say."""

from __future__ import annotations

import numpy as np
import pytest

from voicetone.augment.babble import babble
from voicetone.augment.changes import NEEDS, NOISES, OTHERS, USUAL, Change, Sounds, changes
from voicetone.augment.colours import pink, white
from voicetone.augment.compress import compressed
from voicetone.augment.draws import generator
from voicetone.augment.filters import filtered
from voicetone.augment.gsm import through_gsm
from voicetone.augment.length import crop, pad
from voicetone.augment.noise import active_power
from voicetone.errors import UsageError
from voicetone.types import Floats, Waveform

RATE = 16_000


def sound(seconds: float = 1.0, hertz: float = 220.0) -> Waveform:
    time = np.arange(int(seconds * RATE)) / RATE
    tones = sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 20))
    return Waveform((0.1 * tones).astype(np.float32)[None], RATE)


def noise_of(seed: int, length: int = 5000) -> Floats:
    return (0.1 * np.random.default_rng(seed).standard_normal(length)).astype(np.float32)


SOUNDS = Sounds(
    noises=[noise_of(1), noise_of(2)],
    coughs=[noise_of(3)],
    music=[noise_of(4)],
    rooms=[np.exp(-np.arange(800) / 100).astype(np.float32) * noise_of(5, 800)],
    voices=[lambda k=k: noise_of(k) for k in range(10, 16)],  # type: ignore[misc]
)
ALL = changes(",".join([*NOISES, *OTHERS]))


@pytest.mark.parametrize("change", ALL, ids=lambda c: c.name)
def test_contract(change: Change) -> None:
    wave = sound()
    before = wave.samples.copy()
    one, again, other = (change.apply(wave, generator(s, change.name), SOUNDS) for s in (3, 3, 4))
    np.testing.assert_array_equal(one.samples, again.samples)
    np.testing.assert_array_equal(wave.samples, before)
    assert one.samples.dtype == np.float32
    assert one.sample_rate == RATE
    assert not np.array_equal(one.samples, wave.samples)
    if change.kind not in ("crop", "pad"):
        assert one.samples.shape == wave.samples.shape
    if change.snr is not None:
        assert not np.array_equal(one.samples, other.samples)


@pytest.mark.parametrize("change", ALL, ids=lambda c: c.name)
@pytest.mark.parametrize("samples", [1, 7, 400])
@pytest.mark.parametrize("level", [0.0, 0.1])
def test_very_short_and_silent_audio(change: Change, samples: int, level: float) -> None:
    wave = Waveform(np.full((1, samples), level, dtype=np.float32), RATE)
    out = change.apply(wave, generator(0), SOUNDS)
    assert np.isfinite(out.samples).all()
    assert out.samples.shape[1] >= 1


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("snr", [20.0, 0.0])
def test_noise_comes_at_its_level(kind: str, snr: float) -> None:
    wave = sound(3.0)
    added = Change(kind, snr).apply(wave, generator(1), SOUNDS).samples - wave.samples
    ratio = 10 * np.log10(active_power(wave.samples[0], RATE) / active_power(added[0], RATE))
    assert ratio == pytest.approx(snr, abs=0.3)


def test_babble_is_of_three_to_seven_voices() -> None:
    called: list[int] = []

    def voice(number: int) -> Floats:
        called.append(number)
        return noise_of(number)

    counts = set()
    for seed in range(40):
        called.clear()
        voices = [lambda k=k: voice(k) for k in range(20)]  # type: ignore[misc]
        babble(sound(0.2), generator(seed), voices, 20.0)
        assert len(set(called)) == len(called)
        counts.add(len(called))
    assert counts == {3, 4, 5, 6, 7}


def test_colours() -> None:
    rng = np.random.default_rng(0)

    def octaves(noise: Floats) -> tuple[float, float]:
        power = np.abs(np.fft.rfft(noise)) ** 2
        return float(power[500:1000].sum()), float(power[4000:8000].sum())

    low, high = octaves(white(2**15, rng))
    assert 10 * np.log10(high / low) == pytest.approx(9.0, abs=1.0)  # three octaves up
    low, high = octaves(pink(2**15, rng))
    assert 10 * np.log10(high / low) == pytest.approx(0.0, abs=1.0)


def test_filters_take_three_decibels_at_the_corner() -> None:
    wave = Waveform(white(2**16, np.random.default_rng(0))[None], RATE)
    for kind, corner in (("highpass", 1000.0), ("lowpass", 1000.0)):
        out = filtered(wave, corner, kind)  # type: ignore[arg-type]
        gain = np.abs(np.fft.rfft(out.samples[0])) ** 2 / np.abs(np.fft.rfft(wave.samples[0])) ** 2
        bins = np.fft.rfftfreq(2**16, 1 / RATE)

        def at(hertz: float, gain: Floats = gain, bins: Floats = bins) -> float:
            return float(10 * np.log10(np.median(gain[np.abs(bins - hertz) < 30])))

        assert at(1000.0) == pytest.approx(-3.0, abs=0.3)
        passed, stopped = (7000.0, 60.0) if kind == "highpass" else (60.0, 7000.0)
        assert at(passed) > -0.3
        assert at(stopped) < -15.0


def test_cropped_and_padded_by_the_counts_of_the_paper() -> None:
    wave = sound()
    whole = wave.samples.shape[1]
    taken = {whole - crop(wave, generator(s)).samples.shape[1] for s in range(40)}
    added = {pad(wave, generator(s)).samples.shape[1] - whole for s in range(40)}
    assert taken == added == {100, 500, 1000}
    fronts = {bool(crop(wave, generator(s)).samples[0, 0] == wave.samples[0, 0]) for s in range(40)}
    assert fronts == {True, False}


def test_compression_brings_loud_parts_down() -> None:
    quiet = Waveform(np.full((1, RATE), 0.05, dtype=np.float32), RATE)
    np.testing.assert_array_equal(compressed(quiet).samples, quiet.samples)
    loud = Waveform(np.full((1, RATE), 1.0, dtype=np.float32), RATE)
    level = 20 * np.log10(np.abs(compressed(loud).samples[0, RATE // 2]))
    assert level == pytest.approx(-4.0, abs=0.05)  # 20 dB over the threshold become 16


def test_gsm_is_narrow_and_in_step() -> None:
    wave = sound(hertz=300.0)
    coded = through_gsm(wave).samples[0]
    power = np.abs(np.fft.rfft(coded)) ** 2
    assert power[4200:].sum() < 0.001 * power[:4000].sum()
    narrow = wave.resample(8000).resample(RATE).samples[0][:RATE]
    lags = np.correlate(coded[4000:12000], narrow[4000 - 40 : 12000 + 40], "valid")
    assert abs(int(lags.argmax()) - 40) <= 2
    assert np.corrcoef(coded[4000:12000], narrow[4000:12000])[0, 1] > 0.8


def test_generators_depend_on_all_that_they_are_for() -> None:
    draws = {
        generator(*p).random()
        for p in ((0, "gain", "a"), (1, "gain", "a"), (0, "pad", "a"), (0, "gain", "b"))
    }
    assert len(draws) == 4
    assert generator(0, "gain", "a").random() in draws


def test_names() -> None:
    assert [c.name for c in changes()] == [c.name for c in changes(",".join(USUAL))]
    assert [c.name for c in changes("cough")] == ["cough 10 dB"]
    assert [c.name for c in changes(" babble 7.5  dB, gain ,gain")] == ["babble 7.5 dB", "gain"]
    assert [c.name for c in changes("pink noise")][-1] == "pink noise 0 dB"
    assert changes("environment -5 dB")[0].snr == -5
    assert set(NEEDS) <= {c.kind for c in ALL}


@pytest.mark.parametrize("text", ["babbel 20 dB", "gain 20 dB", "babble loud", "gain,,pad"])
def test_names_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="not known: use any of babble 20 dB"):
        changes(text)
