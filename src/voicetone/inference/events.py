"""What a session tells of, as it comes to know it. Channels count from 1, analysed or not."""

from __future__ import annotations

from dataclasses import dataclass

from voicetone.types import Current, Overall, Segment, SpeakerUse, Window


@dataclass(frozen=True, slots=True)
class WindowEvent:
    """A window is complete. `channel` counts those of the audio from 1, analysed or not."""

    channel: int
    window: Window


@dataclass(frozen=True, slots=True)
class CurrentEvent:
    """The tone of the newest 30 s of speech has changed."""

    channel: int
    current: Current


@dataclass(frozen=True, slots=True)
class OverallEvent:
    """The channel has ended; this is its tone as a whole."""

    channel: int
    overall: Overall


@dataclass(frozen=True, slots=True)
class SpeechStartEvent:
    """A turn of active speech has begun, at `start` seconds; it ends with a `SpeechEvent`."""

    channel: int
    start: float


@dataclass(frozen=True, slots=True)
class SpeechEvent:
    """A turn of active speech has ended."""

    channel: int
    segment: Segment


@dataclass(frozen=True, slots=True)
class SpeakerEvent:
    """The channel's speaker is known now, from its own first seconds of speech.

    Windows that end after `speaker.since` are scored with it.
    """

    channel: int
    speaker: SpeakerUse


Event = WindowEvent | CurrentEvent | OverallEvent | SpeechStartEvent | SpeechEvent | SpeakerEvent
