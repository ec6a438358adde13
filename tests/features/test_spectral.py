"""Log-mel energies and the pitch map."""

from __future__ import annotations

import numpy as np
import pytest

from voicetone.audio.units import FEATURE_HOP, SAMPLE_RATE
from voicetone.errors import BundleError
from voicetone.features.spectral import SpectralConfig, spectral_features

CONFIG = SpectralConfig()


def _tone(hertz: float, frames: int = 64, harmonics: int = 8) -> np.ndarray:
    time = np.arange(CONFIG.context + frames * FEATURE_HOP) / SAMPLE_RATE
    sound = sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, harmonics + 1))
    return (0.1 * sound).astype(np.float32)[None]


def test_shape_and_type() -> None:
    features = spectral_features(_tone(200.0, frames=10), CONFIG)
    assert features.shape == (1, 10, CONFIG.mels + CONFIG.lags)
    assert features.dtype == np.float32


@pytest.mark.parametrize("hertz", [90.0, 130.0, 200.0, 310.0])
def test_pitch_map_peaks_at_the_period(hertz: float) -> None:
    pitch_map = spectral_features(_tone(hertz), CONFIG)[0, 8:, CONFIG.mels :].mean(axis=0)
    pitches = np.geomspace(CONFIG.pitch_high, CONFIG.pitch_low, CONFIG.lags)
    found = pitches[int(pitch_map.argmax())]
    assert abs(np.log2(found / hertz)) < 0.1, f"{found:.0f} Hz for {hertz} Hz"


def test_noise_has_a_flat_pitch_map() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, (1, CONFIG.context + 64 * FEATURE_HOP)).astype(np.float32)
    noisy = spectral_features(noise, CONFIG)[0, :, CONFIG.mels :].mean(axis=0).max()
    voiced = spectral_features(_tone(150.0), CONFIG)[0, :, CONFIG.mels :].mean(axis=0).max()
    assert voiced > 5 * noisy


def test_louder_by_ten_decibels_is_louder_by_ten_decibels() -> None:
    quiet = spectral_features(_tone(200.0), CONFIG)[..., 10:20]
    loud = spectral_features(_tone(200.0) * 10**0.5, CONFIG)[..., 10:20]
    np.testing.assert_allclose(loud - quiet, np.log(10.0), atol=0.02)


def test_cutting_a_stream_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    stream = rng.normal(0, 0.1, CONFIG.context + 40 * FEATURE_HOP).astype(np.float32)
    whole = spectral_features(stream[None], CONFIG)[0]
    cut = 13 * FEATURE_HOP
    parts = [stream[: CONFIG.context + cut], stream[cut:]]
    pieces = np.concatenate([spectral_features(p[None], CONFIG)[0] for p in parts])
    np.testing.assert_allclose(pieces, whole, atol=1e-5)


def test_no_frame_hears_what_comes_after_it() -> None:
    stream = _tone(200.0, frames=20)
    changed = stream.copy()
    changed[:, CONFIG.context + 10 * FEATURE_HOP :] = 0.0
    before, after = spectral_features(stream, CONFIG), spectral_features(changed, CONFIG)
    np.testing.assert_array_equal(before[:, :10], after[:, :10])
    assert not np.allclose(before[:, 10:], after[:, 10:])


@pytest.mark.parametrize("bad", [{"mels": 0}, {"n_fft": 999}, {"pitch_low": 1.0}, {"taps": 3}])
def test_settings_out_of_range_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(BundleError):
        SpectralConfig.from_dict({**CONFIG.to_dict(), **bad})
