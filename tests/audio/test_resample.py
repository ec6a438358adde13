"""Streaming resampling is resampling."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from voicetone.audio import StreamResampler
from voicetone.errors import AudioError
from voicetone.types import Waveform

RATES = [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000, 12_345]


def noise(channels: int, samples: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.3 * rng.standard_normal((channels, samples))).astype(np.float32)


def stream(x: np.ndarray, rate: int, sizes: list[int]) -> np.ndarray:
    resampler, out, at = StreamResampler(rate, len(x)), [], 0
    for size in [*sizes, x.shape[1]]:
        out.append(resampler.push(x[:, at : at + size]))
        at += size
    out.append(resampler.flush())
    assert resampler.pushed == x.shape[1]
    assert resampler.given == sum(o.shape[1] for o in out)
    assert all(o.dtype == np.float32 for o in out)
    return np.concatenate(out, axis=1)


@settings(max_examples=80, deadline=None)
@given(
    rate=st.sampled_from(RATES),
    channels=st.integers(1, 8),
    samples=st.integers(0, 6_000),
    sizes=st.lists(st.integers(0, 1_500), max_size=20),
    seed=st.integers(0, 2**16),
)
def test_no_chunking_changes_anything(
    rate: int, channels: int, samples: int, sizes: list[int], seed: int
) -> None:
    x = noise(channels, samples, seed)
    y = stream(x, rate, sizes)
    np.testing.assert_array_equal(y, stream(x, rate, []))
    length = int(samples * 16_000 / rate + 0.5)
    assert y.shape == (channels, max(length, min(samples, 1)))
    if length:
        whole = Waveform(x, rate).resample(16_000).samples
        np.testing.assert_allclose(y, whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_stays_where_and_what_it_is(rate: int) -> None:
    t = np.arange(rate) / rate
    y = stream(np.sin(2 * np.pi * 440 * t)[None].astype(np.float32), rate, [rate // 3])
    assert y.shape == (1, 16_000)
    wanted = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(y[0, 800:-800], wanted[800:-800], atol=1e-3)


@pytest.mark.parametrize("rate", [24_000, 48_000])
def test_what_16_khz_can_not_hold_does_not_fold_back(rate: int) -> None:
    t = np.arange(rate) / rate
    y = stream(np.sin(2 * np.pi * 9_500 * t)[None].astype(np.float32), rate, [])
    assert np.abs(y[0, 1_000:-1_000]).max() < 1e-4


def test_the_models_rate_passes_untouched_and_at_once() -> None:
    resampler, x = StreamResampler(16_000, 2), noise(2, 100)
    y = resampler.push(x)
    np.testing.assert_array_equal(y, x)
    y[:] = 0
    assert x.any()  # what comes out is not what went in
    assert resampler.flush().shape == (2, 0)


def test_it_keeps_up() -> None:
    """Live audio waits for the filter only."""
    resampler = StreamResampler(8_000, 1)
    given = sum(resampler.push(noise(1, 160)).shape[1] for _ in range(50))
    assert 16_000 - given < 16_000 * 0.15


@pytest.mark.parametrize("rate", [44_100, 192_000])
def test_one_sample_is_audio_at_any_rate(rate: int) -> None:
    y = stream(np.full((2, 1), 0.5, np.float32), rate, [1])
    np.testing.assert_array_equal(y, [[0.5], [0.5]])


@pytest.mark.parametrize("rate", [16_000, 8_000])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(rate: int, bad: float) -> None:
    resampler, x = StreamResampler(rate, 2), noise(2, rate)
    resampler.push(x)
    broken = x.copy()
    broken[1, rate // 2] = bad
    with pytest.raises(AudioError, match=r"NaN or infinite samples at 1\.500 s"):
        resampler.push(broken)
    resampler.push(x)  # the stream has not heard of it
    resampler.flush()
    assert resampler.given == 32_000


def test_what_float32_can_not_hold() -> None:
    with pytest.raises(AudioError, match="infinite"):
        StreamResampler(16_000, 1).push(np.array([[1e300]]))


@pytest.mark.parametrize(
    "block",
    [np.zeros(10), np.zeros((1, 10)), np.zeros((10, 2)), np.zeros((2, 10), np.int16)],
    ids=["flat", "mono", "turned", "integers"],
)
def test_blocks_of_another_kind(block: np.ndarray) -> None:
    with pytest.raises(AudioError, match="give"):
        StreamResampler(8_000, 2).push(block)


def test_a_stream_ends_once() -> None:
    resampler = StreamResampler(8_000, 1)
    assert resampler.flush().shape == (1, 0)
    with pytest.raises(AudioError, match="has ended"):
        resampler.push(noise(1, 10))
    with pytest.raises(AudioError, match="has ended"):
        resampler.flush()


@pytest.mark.parametrize(("rate", "channels"), [(7_999, 1), (192_001, 1), (8_000, 0), (8_000, 9)])
def test_limits(rate: int, channels: int) -> None:
    with pytest.raises(AudioError, match="outside"):
        StreamResampler(rate, channels)


def test_soxr_is_asked_for_its_high_quality() -> None:
    x = noise(1, 20_000)
    np.testing.assert_array_equal(
        stream(x, 44_100, [7])[0], soxr.resample(x[0], 44_100, 16_000, quality="HQ")
    )
