"""Seconds, samples and frames, and the limits on what is accepted. Rounding happens here, once."""

from __future__ import annotations

SAMPLE_RATE = 16_000  # Hz, what every model hears
MIN_RATE = 8_000  # Hz
MAX_RATE = 192_000  # Hz
MAX_CHANNELS = 8

FEATURE_HOP = 250  # samples between spectral frames at SAMPLE_RATE: 15.625 ms
FRAME = 500  # samples in a model frame at SAMPLE_RATE: 31.25 ms, two spectral frames
FRAME_SECONDS = FRAME / SAMPLE_RATE

WINDOW_SECONDS = 5.0
HOP_SECONDS = 2.5
WINDOW_FRAMES = 160  # frames: 5 s, exactly
HOP_FRAMES = 80  # frames: 2.5 s, exactly

SHORT_SECONDS = 1.0  # a recording under this is flagged; a tail under this gives no window
CURRENT_SECONDS = 30.0  # of active speech behind `current`


def to_samples(seconds: float, rate: int = SAMPLE_RATE) -> int:
    """Seconds → samples, to the nearest."""
    return round(seconds * rate)


def to_seconds(samples: int, rate: int = SAMPLE_RATE) -> float:
    """Samples → seconds."""
    return samples / rate


def frames_in(samples: int) -> int:
    """Model frames that cover this many samples at SAMPLE_RATE; the last may be partly padding."""
    return -(-samples // FRAME)
