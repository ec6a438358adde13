"""A voice as the statistics of its features: what normalisation per speaker needs to know."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from voicetone.features.lengths import stepped
from voicetone.features.normalise import statistics
from voicetone.features.speaker import StatisticsEncoder
from voicetone.features.speaker_enrol import (
    Active,
    Enrolment,
    by_energy,
    enrolled,
    enrolment_speech,
)
from voicetone.types import Floats

PAUSE_FRAMES = 16  # of 31.25 ms: pauses up to half a second are part of what is said


class FrameStatistics:
    """Mean and standard deviation of each feature over the frames of a voice.

    They are of the features as a network hears them: means of `step` frames. A network whose
    features are normalised with them learnt from whole clips, so short pauses are heard too.

    Args:
        settings: all that decides the features, for the id.
        compute: samples `[n]` at 16 kHz → frames `[t, features]`.
        features: values of a frame.
        step: frames that are averaged to one.
    """

    def __init__(
        self,
        settings: dict[str, object],
        compute: Callable[[Floats], Floats],
        features: int,
        step: int,
    ) -> None:
        self.id = frames_id(settings, step)
        self.size = 2 * features
        self._compute, self._step = compute, step

    def voice(self, waves: Sequence[Floats]) -> Floats:
        """Waves `[n]` of one voice → float32 `[2 features]`: means, then deviations.

        Raises:
            AudioError: a wave too short for the features.
        """
        frames = [stepped(self._compute(wave), self._step) for wave in waves]
        return np.concatenate(statistics(frames)).astype(np.float32)

    def enrol(
        self,
        named: Iterable[tuple[str, Floats]],
        seconds: float | None = None,
        active: Active = by_energy,
    ) -> Enrolment:
        """A voice from waves `[n]` at 16 kHz by their names; see `speaker_enrol.enrol`.

        Whether there are two voices in it is told by `StatisticsEncoder`.

        Raises:
            AudioError, DataError: see `speaker_enrol.enrol`.
        """

        def heard(samples: Floats) -> NDArray[np.bool_]:
            return with_short_pauses(active(samples))

        first, waves = enrolment_speech(named, seconds, heard)
        return enrolled(StatisticsEncoder(), first, waves, self.voice(waves), self.id)


def frames_id(settings: dict[str, object], step: int) -> str:
    """The id of the statistics of features with these settings, `step` frames being one."""
    told = json.dumps({**settings, "step": step, "version": 1}, sort_keys=True)
    return f"frames-{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def with_short_pauses(active: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Active frames `[n]`, pauses up to `PAUSE_FRAMES` between them among them."""
    out = active.copy()
    there = np.flatnonzero(active)
    for before, after in zip(there[:-1].tolist(), there[1:].tolist(), strict=True):
        if after - before - 1 <= PAUSE_FRAMES:
            out[before:after] = True
    return out
