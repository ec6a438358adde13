"""From speech probability per frame to active speech and turns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voicetone.audio.units import FRAME, SAMPLE_RATE
from voicetone.pretrained.spec import SpeechRule
from voicetone.types import Floats, Segment


class Activity:
    """Switches speech on and off along one stream.

    It goes on with the frame that completes `onset_frames` consecutive frames at or over the
    threshold (the frames before it stay off: a decision once given is never changed), and stays
    on for `hangover_frames` after the last frame at or over `release`, which is lower: it takes
    more to take a sound for speech than to go on hearing a voice that is already there.
    """

    def __init__(self, rule: SpeechRule) -> None:
        self._rule = rule
        self._run = 0  # consecutive frames at or over the threshold
        self._left = 0  # frames that speech stays on without another one

    def push(self, probability: Floats) -> NDArray[np.bool_]:
        """Probabilities `[n]` → whether each frame is active `[n]`."""
        over = (probability >= self._rule.threshold).tolist()
        kept = (probability >= self._rule.release).tolist()
        active = np.zeros(len(over), dtype=np.bool_)
        for index, (high, held) in enumerate(zip(over, kept, strict=True)):
            self._run = self._run + 1 if high else 0
            if (held and self._left) or self._run >= self._rule.onset_frames:
                self._left = self._rule.hangover_frames + 1
            if self._left:
                active[index] = True
                self._left -= 1
        return active


@dataclass(frozen=True, slots=True)
class TurnStart:
    """A turn of active speech has begun, at `seconds` of the stream."""

    seconds: float


class Turns:
    """Joins active frames to turns."""

    def __init__(self) -> None:
        self._frames = 0
        self._start: int | None = None

    def push(self, active: NDArray[np.bool_]) -> list[TurnStart | Segment]:
        """Take the next frames; the turns that began and those that ended among them, in order."""
        edges: list[TurnStart | Segment] = []
        # Frames that differ from the one before; a turn that runs on from earlier makes no edge.
        before = np.concatenate([[self._start is not None], active[:-1]])
        for index in np.flatnonzero(active != before).tolist():
            frame = self._frames + index
            if self._start is None:
                self._start = frame
                edges.append(TurnStart(frame * FRAME / SAMPLE_RATE))
            else:
                edges.append(
                    Segment(self._start * FRAME / SAMPLE_RATE, frame * FRAME / SAMPLE_RATE)
                )
                self._start = None
        self._frames += len(active)
        return edges

    def close(self, samples: int) -> list[Segment]:
        """The turn that lasts until the end of the stream, of this many samples, if one does."""
        if self._start is None:
            return []
        last = Segment(self._start * FRAME / SAMPLE_RATE, samples / SAMPLE_RATE)
        self._start = None
        return [last]
