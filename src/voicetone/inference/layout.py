"""Where windows lie. Integers only: samples at 16 kHz, and frames of 500 of them.

A channel is cut into chunks of 2.5 s, each encoded once. Window `k - 1` spans the chunks `k - 1`
and `k` and is complete with chunk `k`. The end of a stream may add one more window.
"""

from __future__ import annotations

from dataclasses import dataclass

from voicetone.audio.units import (
    FRAME,
    HOP_FRAMES,
    SAMPLE_RATE,
    SHORT_SECONDS,
    WINDOW_FRAMES,
    frames_in,
    to_samples,
)

CHUNK = HOP_FRAMES * FRAME  # samples: 2.5 s
WINDOW = WINDOW_FRAMES * FRAME  # samples: 5 s
_SHORT = to_samples(SHORT_SECONDS)


@dataclass(frozen=True, slots=True)
class Placement:
    """One window.

    Args:
        start: first sample.
        end: sample after the last.
        first: first frame.
        last: frame after the last; the last frame of a stream may be partly padding.
        newest: first frame of the part that no earlier window stands for.
    """

    start: int
    end: int
    first: int
    last: int
    newest: int

    @property
    def start_seconds(self) -> float:
        return self.start / SAMPLE_RATE

    @property
    def end_seconds(self) -> float:
        return self.end / SAMPLE_RATE


def window_of_chunk(chunk: int) -> Placement | None:
    """The window that a whole chunk completes: none for the first chunk."""
    if chunk < 1:
        return None
    first, last = (chunk - 1) * HOP_FRAMES, (chunk + 1) * HOP_FRAMES
    newest = first if chunk == 1 else chunk * HOP_FRAMES
    return Placement(first * FRAME, last * FRAME, first, last, newest)


def window_at_end(samples: int) -> Placement | None:
    """The window that the end of a stream adds.

    A stream shorter than 5 s gives one window with all of it. Otherwise what is left after the
    last whole window gives one if it is at least 1 s.

    Args:
        samples: length of the whole stream.
    """
    last = frames_in(samples)
    if samples < WINDOW:
        return Placement(0, samples, 0, last, 0) if samples else None
    chunks, rest = divmod(samples, CHUNK)
    if rest < _SHORT:
        return None
    return Placement(samples - WINDOW, samples, last - WINDOW_FRAMES, last, chunks * HOP_FRAMES)


def all_windows(samples: int) -> list[Placement]:
    """Every window of a stream of this length, in order."""
    whole = (window_of_chunk(chunk) for chunk in range(samples // CHUNK))
    return [place for place in (*whole, window_at_end(samples)) if place is not None]
