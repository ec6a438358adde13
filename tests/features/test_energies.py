"""Mel energies and MFCC against direct calculation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft

from voicetone.features.energies import HOP, WINDOW, mel_energies, mel_filters, mfcc


def _noise(samples: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(samples).astype(np.float32) * 0.1


@pytest.mark.parametrize("samples", [WINDOW, WINDOW + HOP - 1, WINDOW + HOP, 16_000])
def test_number_of_frames(samples: int) -> None:
    assert mel_energies(_noise(samples), 40).shape == (1 + (samples - WINDOW) // HOP, 40)


def test_less_than_a_window_is_no_frame() -> None:
    assert mel_energies(_noise(WINDOW - 1), 40).shape == (0, 40)
    assert mfcc(_noise(WINDOW - 1)).shape == (0, 13)


@pytest.mark.parametrize("bands", [40, 64, 128])
def test_every_band_hears_something(bands: int) -> None:
    filters = mel_filters(bands)
    assert np.allclose(filters.sum(axis=0), 1.0, atol=1e-5)
    assert (np.diff(filters.argmax(axis=0)) >= 0).all()


def test_a_tone_is_loudest_in_its_band_and_6_db_quieter_at_half() -> None:
    hertz = 1000.0
    sound = np.sin(2 * np.pi * hertz * np.arange(16_000) / 16_000).astype(np.float32)
    loud = mel_energies(sound, 40)
    width = 2595 * np.log10(1 + np.array([20.0, hertz, 8000.0]) / 700)
    expected = (width[1] - width[0]) / ((width[2] - width[0]) / 41) - 1
    assert abs(loud[10].argmax() - expected) <= 1
    quiet = mel_energies(sound / 2, 40)
    band = loud[10].argmax()
    assert loud[10, band] - quiet[10, band] == pytest.approx(2 * np.log(2), abs=1e-3)


def test_power_of_white_noise_is_level_over_bands() -> None:
    energies = np.exp(mel_energies(_noise(160_000), 40)).mean(axis=0)
    assert np.ptp(np.log(energies)) < 0.5


def test_mfcc_are_the_cosine_transform() -> None:
    sound = _noise(8000)
    expected = scipy.fft.dct(mel_energies(sound, 40), norm="ortho", axis=1)[:, :13]
    assert np.allclose(mfcc(sound), expected, atol=1e-4)
