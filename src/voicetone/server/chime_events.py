"""Voice tone of one channel as `VoiceToneAnalysisStatus` events tell it.

The shape is that of the Amazon Chime SDK, "Voice analytics notification targets" in its developer
guide; times of the call's audio become times of day.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID, uuid5

from voicetone.audio.units import CURRENT_SECONDS
from voicetone.inference.tone import Tone
from voicetone.server.events import iso
from voicetone.types import LabelSpace, Scores, Window

EVERY_SECONDS = 5.0
"""Seconds of audio between two events."""
QUIET_SECONDS = 10.0
"""Without talk for so long, events say failure."""

Detail = Literal[
    "VoiceToneAnalysisSuccessful", "VoiceToneAnalysisFailure", "VoiceToneAnalysisCompleted"
]

_ORDER = ("neutral", "positive", "negative")
_EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Told:
    """One event's own part: what kind, and the tone if there is one."""

    status: Detail
    details: Mapping[str, Any] | None


class LegTone:
    """The tone of one channel since a task began. Keeps nothing that grows with the call.

    Only windows that begin after the task did count: nothing said before it has a share in what
    it tells.

    Args:
        sentiment: the model's sentiments.
        emotion: the model's emotions.
        start: where the task began, s of the call's audio.
        day: the time of day at `start`, s since 1970.
        strings: scores as text, as the samples of the cloud's documentation have them.
    """

    def __init__(
        self,
        sentiment: LabelSpace,
        emotion: LabelSpace,
        start: float,
        day: float,
        strings: bool = False,
    ) -> None:
        self._tone = Tone(sentiment, emotion, 0.0)
        self._start, self._day, self._strings = start, day, strings
        self._due = start + EVERY_SECONDS
        self._talked = start
        self._end = start
        self._current: Scores | None = None
        self._recent: deque[tuple[float, float]] = deque()  # start of a window, s of its speech
        self._recent_seconds = 0.0
        self.heard = False
        """Whether any window has been looked at."""

    @property
    def spoken(self) -> bool:
        """Whether there is any tone."""
        return self._current is not None

    def window(self, body: Mapping[str, Any]) -> Told | None:
        """Take the next `window` event of the channel; an event of the task where one is due."""
        window = Window(*(body[name] for name in Window.__dataclass_fields__))
        if window.start < self._start - _EPSILON:
            return None
        self.heard = True
        self._end = window.end
        self._add(window)
        if window.end < self._due - _EPSILON:
            return None
        while self._due <= window.end + _EPSILON:
            self._due += EVERY_SECONDS
        if window.end - self._talked >= QUIET_SECONDS - _EPSILON:
            return Told("VoiceToneAnalysisFailure", None)
        return Told("VoiceToneAnalysisSuccessful", self.details()) if self.spoken else None

    def completed(self) -> Told:
        """The last event."""
        return Told("VoiceToneAnalysisCompleted", self.details())

    def details(self) -> dict[str, Any] | None:
        """Tone of the last 30 s of speech and since the task began; None without speech."""
        overall = self._tone.overall().sentiment
        if self._current is None or overall is None:
            return None
        return {
            "currentAverageVoiceTone": self._average(self._recent[0][0], self._current),
            "overallAverageVoiceTone": self._average(self._start, overall),
        }

    def _add(self, window: Window) -> None:
        if window.speech_seconds > 0:
            self._talked = window.end
        current = self._tone.add(window)
        if current is None:
            return
        self._current = current.sentiment
        self._recent.append((window.start, window.speech_seconds))
        self._recent_seconds += window.speech_seconds
        while self._recent_seconds - self._recent[0][1] >= CURRENT_SECONDS:
            self._recent_seconds -= self._recent.popleft()[1]

    def _average(self, start: float, scores: Scores) -> dict[str, Any]:
        numbers = {name: round(float(scores.get(name, 0.0)), 4) for name in _ORDER}
        shown = {name: str(value) if self._strings else value for name, value in numbers.items()}
        return {
            "startTime": self._iso(start),
            "endTime": self._iso(self._end),
            "voiceToneLabel": max(_ORDER, key=lambda name: scores.get(name, 0.0)),
            "voiceToneScore": shown,
        }

    def _iso(self, seconds: float) -> str:
        return iso(self._day + seconds - self._start)


def status_event(
    told: Told,
    *,
    task: str,
    number: int,
    account: str,
    region: str,
    time: float,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """The whole event.

    Args:
        told: its own part.
        task: id of the task.
        number: of the event among the task's; the event's id follows from both.
        account: whose.
        region: where.
        time: when it was made, s since 1970.
        about: what says which call and channel it is: `isCaller` and so on.
    """
    detail: dict[str, Any] = {"taskId": task, "detailStatus": told.status}
    if told.details is not None:
        detail["voiceToneAnalysisDetails"] = told.details
    return {
        "version": "0",
        "id": str(uuid5(UUID(task), str(number))),
        "detail-type": "VoiceToneAnalysisStatus",
        "service-type": "VoiceAnalytics",
        "source": "aws.chime",
        "account": account,
        "time": iso(time),
        "region": region,
        "detail": {**detail, **about},
    }
