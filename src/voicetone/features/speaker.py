"""Speaker embeddings: what a voice is like, as one vector of unit length.

They say how alike two voices are, so that a model can know whose voice it hears or a call can be
split by speaker. They are no means of telling who somebody is.

What needs a graph is opened in `voicetone.pretrained.speakers`; here is what they share, and the
baseline that needs none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from voicetone.audio.units import SAMPLE_RATE, to_samples
from voicetone.errors import AudioError, DataError
from voicetone.features.energies import mel_energies
from voicetone.types import Floats

LEAST_SECONDS = 0.1  # under this there is no voice to describe
MOST_SECONDS = 3600.0  # of one wave: bounds memory
_TINY = 1e-8


@runtime_checkable
class SpeakerEncoder(Protocol):
    """Audio in, one vector per voice out. Silence in the audio counts: leave it out before."""

    @property
    def id(self) -> str:
        """What computes it, with a hash of its weights: stands in caches and records."""

    @property
    def size(self) -> int:
        """Values of an embedding."""

    @property
    def same_voice(self) -> float:
        """The cosine of two stretches of about 2 s under which they rather are of two voices."""

    def embed(self, waves: Sequence[Floats]) -> Floats:
        """Waves `[n]` at 16 kHz → float32 `[waves, size]` of unit length.

        Raises:
            AudioError: a wave that is no audio, too short, too long, or without any voice in it.
        """


class StatisticsEncoder:
    """The baseline: mean and standard deviation of each log-mel band over active frames.

    A frame is active if its power is less than 30 dB under that of the loud ones (the 95th
    percentile). The mean over all bands is taken off the bands' means, so that the level of the
    recording has no part in it; its frequency response has.
    """

    id = "statistics-1"
    same_voice = 0.86  # docs/speaker.md says what this costs
    _BANDS = 40
    size = 2 * _BANDS
    _RANGE = 30.0  # dB

    def embed(self, waves: Sequence[Floats]) -> Floats:
        """Waves `[n]` at 16 kHz → float32 `[waves, 80]` of unit length.

        Raises:
            AudioError: a wave that is no audio, too short, too long, or digital silence.
        """
        rows = [self._one(checked(wave)) for wave in waves]
        return np.stack(rows) if rows else np.zeros((0, self.size), dtype=np.float32)

    def _one(self, wave: Floats) -> Floats:
        logs = mel_energies(wave, self._BANDS)
        level = 10 * np.log10(np.exp(logs.astype(np.float64)).sum(axis=1))
        active = logs[level > np.percentile(level, 95) - self._RANGE].astype(np.float64)
        mean = active.mean(axis=0)
        return unit(np.concatenate([mean - mean.mean(), active.std(axis=0)]))


def checked(wave: Floats) -> Floats:
    """A wave as float32, if it is audio at all.

    Raises:
        AudioError: another shape, NaN or infinite samples, too short or too long.
    """
    wave = np.asarray(wave)
    if wave.ndim != 1 or not np.issubdtype(wave.dtype, np.floating):
        raise AudioError(
            f"a voice of shape {list(wave.shape)} and type {wave.dtype}: give floats [n] at 16 kHz"
        )
    seconds = len(wave) / SAMPLE_RATE
    if len(wave) < to_samples(LEAST_SECONDS):
        raise AudioError(
            f"{seconds:.3f} s is too short for a speaker embedding: give {LEAST_SECONDS} s at least"
        )
    if seconds > MOST_SECONDS:
        raise AudioError(
            f"{seconds:.0f} s at once is too long for a speaker embedding: give an hour at most"
        )
    if not np.isfinite(wave).all():
        raise AudioError("a voice with NaN or infinite samples: repair or re-export the audio")
    return wave.astype(np.float32, copy=False)


def unit(vector: Floats | NDArray[np.float64]) -> Floats:
    """A vector, or each row of several, brought to length 1.

    Raises:
        AudioError: one of length zero, which digital silence gives.
    """
    wide = np.asarray(vector, dtype=np.float64)
    length = np.sqrt((wide**2).sum(axis=-1, keepdims=True))
    if not (length > _TINY).all():
        raise AudioError("no voice in it: its speaker embedding is zero, so leave this audio out")
    return np.asarray(wide / length, dtype=np.float32)


def require_size(embedding: Floats, size: int, where: str) -> Floats:
    """An embedding `[size]` as it should be.

    Args:
        embedding: from a file, a cache or another process.
        size: what the model takes.
        where: it comes from, for the message.

    Raises:
        DataError: another size, or no numbers.
    """
    embedding = np.asarray(embedding)
    if embedding.shape != (size,):
        raise DataError(
            f"{where}: a speaker embedding of shape {list(embedding.shape)} where the model takes "
            f"[{size}]: compute it with the encoder that the model names"
        )
    if not np.issubdtype(embedding.dtype, np.floating) or not np.isfinite(embedding).all():
        raise DataError(f"{where}: a speaker embedding that holds no numbers: compute it again")
    return embedding.astype(np.float32, copy=False)
