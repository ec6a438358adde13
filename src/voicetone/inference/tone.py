"""From windows to the tone of the last 30 s of speech and of the whole channel."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voicetone.audio.units import CURRENT_SECONDS
from voicetone.types import Current, LabelSpace, Overall, Scores, Window


@dataclass(frozen=True, slots=True)
class _Share:
    """The scores of one window, sentiments then emotions, and the seconds it stands for."""

    seconds: float
    scores: NDArray[np.float64]


class Tone:
    """Aggregates one channel. Keeps sums and the windows behind `current`, nothing that grows.

    Args:
        sentiment: the model's sentiments.
        emotion: the model's emotions.
        threshold: the least confidence that gets a label.
    """

    def __init__(self, sentiment: LabelSpace, emotion: LabelSpace, threshold: float) -> None:
        self._sentiment = sentiment
        self._emotion = emotion
        self._threshold = threshold
        self._seconds = 0.0
        self._sum = np.zeros(len(sentiment.labels) + len(emotion.labels))
        self._recent: deque[_Share] = deque()
        self._recent_seconds = 0.0

    def add(self, window: Window) -> Current | None:
        """Take the next window; the new `current` if it adds speech."""
        seconds = window.speech_seconds
        if window.sentiment is None or window.emotion is None or seconds <= 0:
            return None
        scores = np.array(
            [window.sentiment[label] for label in self._sentiment.labels]
            + [window.emotion[label] for label in self._emotion.labels]
        )
        self._seconds += seconds
        self._sum += seconds * scores
        self._recent.append(_Share(seconds, scores))
        self._recent_seconds += seconds
        while self._recent_seconds - self._recent[0].seconds >= CURRENT_SECONDS:
            self._recent_seconds -= self._recent.popleft().seconds
        mean = self._recent_mean()
        sentiment, emotion = self._split(mean)
        return Current(window.end, self._label(sentiment), sentiment, emotion)

    @property
    def current_seconds(self) -> float:
        """Seconds of speech behind `current`: 30 at most."""
        return min(self._recent_seconds, CURRENT_SECONDS)

    def overall(self) -> Overall:
        """The mean over all windows so far, weighted by the seconds that each stands for."""
        if not self._seconds:
            return Overall(0.0, None, None, None, None)
        sentiment, emotion = self._split(self._sum / self._seconds)
        confidence = max(sentiment.values())
        return Overall(self._seconds, self._label(sentiment), confidence, sentiment, emotion)

    def _recent_mean(self) -> NDArray[np.float64]:
        """Over the newest windows; of the oldest only the part that fills up 30 s."""
        total = self.current_seconds
        oldest = self._recent[0]
        spare = self._recent_seconds - total
        mean = (oldest.seconds - spare) / total * oldest.scores
        for share in list(self._recent)[1:]:
            mean = mean + share.seconds / total * share.scores
        return mean

    def _split(self, scores: NDArray[np.float64]) -> tuple[Scores, Scores]:
        values = scores.tolist()
        count = len(self._sentiment.labels)
        return (
            dict(zip(self._sentiment.labels, values[:count], strict=True)),
            dict(zip(self._emotion.labels, values[count:], strict=True)),
        )

    def _label(self, sentiment: Scores) -> str | None:
        label = max(sentiment, key=lambda name: sentiment[name])
        return label if sentiment[label] >= self._threshold else None
