"""The events of a session gathered into what one channel gave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from voicetone.inference.live import (
    CurrentEvent,
    Event,
    OverallEvent,
    SpeakerEvent,
    SpeechEvent,
    SpeechStartEvent,
    WindowEvent,
)
from voicetone.types import ChannelResult, Current, Overall, Segment, SpeakerUse, Window

BLOCK_SECONDS = 10.0  # as many chunks as one job takes

Progress = Callable[[float, float | None], None]
"""Called with the seconds done and those in all, None where the source doesn't tell."""


@dataclass(slots=True)
class Collected:
    """The events of one channel."""

    windows: list[Window] = field(default_factory=list)
    current: list[Current] = field(default_factory=list)
    speech: list[Segment] = field(default_factory=list)
    overall: Overall = field(default_factory=lambda: Overall(0.0, None, None, None, None))

    def of_channel(
        self,
        channel: int,
        name: str | None,
        flags: tuple[str, ...],
        speaker: SpeakerUse | None = None,
        *,
        estimated: bool = False,
        windows_with_words: int | None = None,
    ) -> ChannelResult:
        """All of it as a record.

        Args:
            channel: its number in the recording.
            name: its name, if it has one.
            flags: what is said of its audio.
            speaker: what the model was told of whose voice it is.
            estimated: it is one party of a channel that was split by voice.
            windows_with_words: those whose scores know words.
        """
        return ChannelResult(
            channel=channel,
            name=name,
            flags=flags,
            windows=tuple(self.windows),
            current=tuple(self.current),
            overall=self.overall,
            speech=tuple(self.speech),
            speaker=speaker,
            estimated=estimated,
            windows_with_words=windows_with_words,
        )


def collect(results: Mapping[int, Collected], events: Iterable[Event]) -> None:
    """Put events where they belong, by their channel."""
    for event in events:
        result = results[event.channel]
        match event:
            case WindowEvent(window=window):
                result.windows.append(window)
            case CurrentEvent(current=current):
                result.current.append(current)
            case SpeechStartEvent() | SpeakerEvent():
                pass  # the turn's end comes with all of it; the session tells of the speaker
            case SpeechEvent(segment=segment):
                result.speech.append(segment)
            case OverallEvent(overall=overall):
                result.overall = overall


def file_flags(channels: Iterable[ChannelResult]) -> tuple[str, ...]:
    """What is said of a recording, as of any of its analysed channels."""
    said = {flag for channel in channels for flag in channel.flags}
    return tuple(flag for flag in ("short", "silent", "clipped") if flag in said)
