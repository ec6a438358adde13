"""Feature sets: one contract for all, sizes as published, and what is too short."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest

from voicetone.errors import AudioError, DataError, MissingExtraError
from voicetone.features import sets
from voicetone.features.sets import OPENSMILE, SETS, FeatureConfig, extractor

SIZES = {
    ("ComParE_2016", "functionals"): 6373,
    ("ComParE_2016", "frames"): 65,
    ("IS13", "functionals"): 6373,
    ("IS13", "frames"): 65,
    ("IS10", "functionals"): 1582,
    ("eGeMAPSv02", "functionals"): 88,
    ("eGeMAPSv02", "frames"): 25,
    ("logmel", "frames"): 64,
    ("mfb", "frames"): 40,
    ("mfcc", "frames"): 13,
    ("mfcc", "functionals"): 26,
    ("logmel", "functionals"): 128,
}


def _sound(seconds: float) -> np.ndarray:
    rng = np.random.default_rng(1)
    time = np.arange(round(16_000 * seconds)) / 16_000
    sound = 0.2 * np.sin(2 * np.pi * 150 * time) + 0.01 * rng.standard_normal(len(time))
    return sound.astype(np.float32)


def _needs(name: str) -> None:
    if name in OPENSMILE:
        pytest.importorskip("opensmile")


@pytest.mark.parametrize(("name", "level"), SIZES)
def test_contract(name: str, level: str) -> None:
    _needs(name)
    compute = extractor(FeatureConfig(name, level))  # type: ignore[arg-type]
    size = SIZES[name, level]
    assert len(compute.names) == len(set(compute.names)) == size
    values = compute(_sound(1.0))
    assert values.dtype == np.float32
    assert values.shape == (size,) if level == "functionals" else values.shape[1:] == (size,)
    assert compute.config.functionals == (level == "functionals")
    assert np.array_equal(values, compute(_sound(1.0)))


def test_every_set_is_in_the_contract() -> None:
    assert {name for name, _ in SIZES} == set(SETS)


@pytest.mark.parametrize("name", SETS)
def test_too_short_is_said_not_filled_with_nan(name: str) -> None:
    _needs(name)
    compute = extractor(FeatureConfig(name))
    with pytest.raises(AudioError, match=r"0\.010 s is too short for .* NaN or nothing"):
        compute(_sound(0.01))


def test_mean_and_deviation_of_frames() -> None:
    frames = extractor(FeatureConfig("mfcc"))(_sound(1.0))
    found = extractor(FeatureConfig("mfcc", "functionals"))(_sound(1.0))
    assert np.allclose(found, [*frames.mean(axis=0), *frames.std(axis=0)], atol=1e-4)
    with pytest.raises(AudioError, match="too short"):
        extractor(FeatureConfig("mfcc", "functionals"))(_sound(0.01))


def test_a_cut_hears_only_the_start() -> None:
    whole, start = _sound(2.0), _sound(2.0)
    start[16_000:] = 0
    cut = extractor(FeatureConfig("logmel", cut_seconds=1.0))
    assert np.array_equal(cut(whole), cut(start))
    assert len(cut(whole)) == 98
    assert cut.settings != extractor(FeatureConfig("logmel")).settings


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"name": "ComPare"}, "no feature set 'ComPare'"),
        ({"level": "words"}, "no level 'words'"),
        ({"cut_seconds": 0.0}, "leaves nothing"),
    ],
)
def test_settings_that_cannot_be(bad: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        FeatureConfig(**bad)  # type: ignore[arg-type]


def test_without_opensmile_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(sets, "version", none)
    with pytest.raises(MissingExtraError, match=r"voicetone\[opensmile\]"):
        extractor(FeatureConfig("IS10", "frames"))


def test_what_is_too_loud_for_16_bits_does_not_wrap_round() -> None:
    _needs("eGeMAPSv02")
    compute = extractor(FeatureConfig("eGeMAPSv02"))
    loud = 4 * _sound(1.5) / 0.2
    clipped = np.clip(loud, -1, 32767 / 32768)
    assert np.array_equal(compute(loud), compute(clipped))
    assert np.allclose(compute(clipped), compute(0.999 * clipped), rtol=0.05, atol=0.5)
