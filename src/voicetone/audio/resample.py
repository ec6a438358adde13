"""Any accepted rate to the models' rate, block by block, as if it were done in one piece."""

from __future__ import annotations

import numpy as np

from voicetone.audio.units import MAX_CHANNELS, MAX_RATE, MIN_RATE, SAMPLE_RATE
from voicetone.errors import AudioError
from voicetone.types import Floats


class StreamResampler:
    """Resamples a stream to 16 kHz with soxr (HQ); at 16 kHz the samples pass untouched.

    However the stream is cut, the blocks given out join to the same samples, bit for bit those of
    `soxr.resample` on the whole: `floor(n * 16000 / rate + 0.5)` of them for n pushed, but one at
    least where n > 0. They come some milliseconds late, the length of the filter: `flush` gives
    the last of them. Memory does not grow.

    Args:
        rate_in: Hz.
        channels: number of channels.

    Raises:
        AudioError: a rate or a number of channels outside the limits in `units`.
    """

    def __init__(self, rate_in: int, channels: int) -> None:
        check_limits(rate_in, channels)
        self.rate_in = rate_in
        self.channels = channels
        self.pushed = 0  # samples per channel
        self.given = 0  # samples per channel
        self._closed = False
        self._first: Floats | None = None
        self._stream = None
        if rate_in != SAMPLE_RATE:
            import soxr

            self._stream = soxr.ResampleStream(
                rate_in, SAMPLE_RATE, channels, dtype="float32", quality="HQ"
            )

    def push(self, block: Floats) -> Floats:
        """Float samples `[channels, n]` at `rate_in` → float32 `[channels, m]` at 16 kHz.

        Raises:
            AudioError: another shape, samples that are no floats or not finite, or a stream that
                `flush` has ended. The stream stays as it was before the call.
        """
        block = self._checked(block)
        if self._first is None and block.shape[1]:
            self._first = block[:, :1].copy()
        self.pushed += block.shape[1]
        if self._stream is None:
            out = block.copy()
        else:
            # soxr wants [n, channels]; a block from `decode` is that already, seen from the side.
            frames = np.ascontiguousarray(block.T)
            out = np.ascontiguousarray(self._stream.resample_chunk(frames).T)
        self.given += out.shape[1]
        return out

    def flush(self) -> Floats:
        """The rest, `[channels, m]`; the stream is ended.

        Raises:
            AudioError: it had been ended before.
        """
        self._check_open()
        self._closed = True
        out = np.zeros((self.channels, 0), np.float32)
        if self._stream is not None and self.pushed:
            empty = np.zeros((0, self.channels), np.float32)
            out = np.ascontiguousarray(self._stream.resample_chunk(empty, last=True).T)
        if not self.given and not out.shape[1] and self._first is not None:
            out = self._first  # one or two samples at a high rate round to none, yet are audio
        self.given += out.shape[1]
        return out

    def _check_open(self) -> None:
        if self._closed:
            raise AudioError("the audio stream has ended: start another for more")

    def _checked(self, block: Floats) -> Floats:
        self._check_open()
        block = np.asarray(block)
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise AudioError(
                f"a block of shape {list(block.shape)}: give [channels, n] "
                f"with {self.channels} channels"
            )
        if not np.issubdtype(block.dtype, np.floating):
            raise AudioError(f"samples of type {block.dtype}: give floats, full scale ±1")
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is told below
            block = block.astype(np.float32, copy=False)
        if not np.isfinite(block).all():
            at = self.pushed + int(np.flatnonzero(~np.isfinite(block).all(axis=0))[0])
            raise AudioError(
                f"the audio holds NaN or infinite samples at {at / self.rate_in:.3f} s: "
                "repair or re-export it"
            )
        return block


def check_limits(rate: int, channels: int) -> None:
    """Nothing, when audio of this rate and number of channels can be analysed.

    Raises:
        AudioError: it can't.
    """
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError(
            f"sampled at {rate} Hz, outside {MIN_RATE}-{MAX_RATE} Hz: "
            "convert it, e.g. ffmpeg -i IN -ar 16000 OUT.wav"
        )
    if not 1 <= channels <= MAX_CHANNELS:
        raise AudioError(
            f"{channels} channels, outside 1-{MAX_CHANNELS}: "
            "keep those with speech, e.g. ffmpeg -i IN -ac 1 OUT.wav"
        )
