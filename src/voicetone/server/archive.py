"""What a call's tone comes to, and what many calls' come to: pure functions of stored events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

STAYS_SECONDS = 10.0
"""A call has turned negative if `current` stays so for this long, until the call ends."""
BINS = 10
"""Positions in a call: its first tenth, its second, ..."""


@dataclass(frozen=True, slots=True)
class ChannelTone:
    """What one channel of a call came to.

    Args:
        channel: its number, from 1.
        speech_seconds: of active speech.
        label: of its overall tone, None for none.
        negative: its overall negative score, None without speech.
        turned: seconds of the call's audio at which `current` turned negative and stayed so.
    """

    channel: int
    speech_seconds: float
    label: str | None
    negative: float | None
    turned: float | None

    def to_dict(self) -> dict[str, Any]:
        """Its JSON object."""
        return {
            "channel": self.channel,
            "speech_seconds": self.speech_seconds,
            "label": self.label,
            "negative": self.negative,
            "turned": self.turned,
        }


def turned_negative(
    points: Iterable[tuple[float, str | None]], stays: float = STAYS_SECONDS
) -> float | None:
    """Where `current` turned negative and stayed negative to the end.

    Args:
        points: `end` in seconds and label of each `tone` event of a channel, in order. Null labels
            (low confidence) neither begin nor end anything.
        stays: seconds from there to the last labelled point that are needed.

    Returns:
        Seconds of the call's audio, or None if it didn't.
    """
    since: float | None = None
    last = 0.0
    for end, label in points:
        if label is None:
            continue
        last = end
        if label != "negative":
            since = None
        elif since is None:
            since = end
    return since if since is not None and last - since >= stays else None


def call_tone(tones: Iterable[tuple[int, Mapping[str, Any]]]) -> list[ChannelTone]:
    """A call's channels from its `tone` events.

    Args:
        tones: channel and body of each, in order.

    Returns:
        One per channel that had any, by number.
    """
    points: dict[int, list[tuple[float, str | None]]] = defaultdict(list)
    overall: dict[int, Mapping[str, Any]] = {}
    for channel, body in tones:
        points[channel].append((float(body["end"]), body["current"]["label"]))
        overall[channel] = body["overall"]
    return [
        ChannelTone(
            channel,
            float(overall[channel]["speech_seconds"]),
            overall[channel]["label"],
            (overall[channel]["sentiment"] or {}).get("negative"),
            turned_negative(points[channel]),
        )
        for channel in sorted(points)
    ]


@dataclass(frozen=True, slots=True)
class StoredCall:
    """What the archive needs of a call that has ended.

    Args:
        began: seconds since 1970.
        queue: where it came in.
        duration: seconds of its audio.
        tone: its channels', as `ChannelTone.to_dict` gives them.
    """

    began: float
    queue: str | None
    duration: float
    tone: Sequence[Mapping[str, Any]]


class Sum:
    """Adds up calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.speech = 0.0
        self.negative_calls = 0
        self.turned_at = [0] * BINS
        self._negative = 0.0  # speech seconds × negative score
        self._scored = 0.0  # speech seconds that have a score

    def add(self, call: StoredCall) -> None:
        """Count one more call; with several channels, the one that turned first says where."""
        self.calls += 1
        for tone in call.tone:
            self.speech += tone["speech_seconds"]
            if tone["negative"] is not None:
                self._negative += tone["speech_seconds"] * tone["negative"]
                self._scored += tone["speech_seconds"]
        self.negative_calls += any(tone["label"] == "negative" for tone in call.tone)
        turned = [tone["turned"] for tone in call.tone if tone["turned"] is not None]
        if turned and call.duration > 0:
            self.turned_at[min(int(min(turned) / call.duration * BINS), BINS - 1)] += 1

    def to_dict(self) -> dict[str, Any]:
        """Its JSON object."""
        return {
            "calls": self.calls,
            "speech_seconds": round(self.speech, 3),
            "negative": round(self._negative / self._scored, 4) if self._scored else None,
            "negative_calls": self.negative_calls,
            "turned_calls": sum(self.turned_at),
            "turned_at": list(self.turned_at),
        }


def summarise(calls: Iterable[StoredCall]) -> dict[str, Any]:
    """Calls by day (UTC) and queue, newest day first, and all of them together.

    Returns:
        `days`: calls, speech seconds, speech-weighted mean of the negative score (None without
        speech), calls whose overall label is negative, calls that turned negative, and in which
        tenth of the call they did; `total`: the same of all.
    """
    total = Sum()
    parts: dict[tuple[str, str | None], Sum] = defaultdict(Sum)
    for call in calls:
        day = datetime.fromtimestamp(call.began, UTC).date().isoformat()
        parts[day, call.queue].add(call)
        total.add(call)
    names = sorted(parts, key=lambda part: part[1] or "")
    names.sort(key=lambda part: part[0], reverse=True)
    days = [{"day": day, "queue": queue, **parts[day, queue].to_dict()} for day, queue in names]
    return {"days": days, "total": total.to_dict()}
