"""What is known of a call in progress: from a session's events or a server's, ready to be shown."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from voicetone import client
from voicetone.cli.terminal import clock
from voicetone.evaluation.call_words import speaker_words
from voicetone.inference import live
from voicetone.types import Current, Floats, Overall, SpeakerUse, Window

MOST_WINDOWS = 1_000
MOST_NOTES = 100
QUIETEST = -60.0
"""dBFS; what is below counts as nothing."""
FALL = 3.0
"""dB that the meter falls with each block at the most, so that eyes can follow."""


@dataclass(slots=True)
class Channel:
    """One analysed channel.

    `level` is that of the newest sound in dBFS.
    """

    number: int
    name: str
    windows: deque[Window] = field(default_factory=lambda: deque(maxlen=MOST_WINDOWS))
    current: Current | None = None
    overall: Overall | None = None
    speaking: bool = False
    level: float = QUIETEST
    pending: bool = False
    """Whether the averages may still take in the newest window."""


class Board:
    """A call as it stands.

    Args:
        source: what is heard, in words.
        model: its name, as far as it is known.
        analysed: channels, from 1.
        names: of all channels.
        sure_from: probability under which a window's sentiment counts as not known.
        duration: of all, in seconds, where that is known.
    """

    def __init__(
        self,
        source: str,
        model: str,
        analysed: Sequence[int],
        names: Sequence[str] | None,
        sure_from: float = 0.0,
        duration: float | None = None,
    ) -> None:
        self.source, self.model, self.sure_from, self.duration = source, model, sure_from, duration
        self.seconds = 0.0
        self.ended: str | None = None
        """Why, once it has."""
        self.notes: deque[str] = deque(maxlen=MOST_NOTES)
        """Gaps, alerts and errors, newest last."""
        self.on_window: Callable[[Channel], None] | None = None
        """Told when the newest window of a channel and its averages are there."""
        self.on_note: Callable[[str], None] | None = None
        self.channels = {
            number: Channel(number, names[number - 1] if names else f"channel {number}")
            for number in analysed
        }

    def finish(self, reason: str) -> None:
        """Nothing more will come."""
        self.ended = reason
        for channel in self.channels.values():
            self._settle(channel)
            channel.speaking = False

    def heard(self, block: Floats, rate: int) -> None:
        """Sound that is on its way to the model, `[channels, n]`."""
        if not block.shape[1]:
            return
        self.seconds += block.shape[1] / rate
        for number, channel in self.channels.items():
            power = float(np.mean(np.square(block[number - 1], dtype=np.float64)))
            level = 10 * math.log10(power) if power > 0 else QUIETEST
            channel.level = min(max(level, channel.level - FALL, QUIETEST), 0.0)

    def note(self, text: str) -> None:
        """A line to be shown."""
        self.notes.append(text)
        if self.on_note is not None:
            self.on_note(text)

    def of_session(self, event: live.Event) -> None:
        """An event of a session on this machine."""
        channel = self.channels[event.channel]
        match event:
            case live.WindowEvent(window=window):
                self._window(channel, window)
            case live.CurrentEvent(current=current):
                channel.current = current
                self._settle(channel)
            case live.OverallEvent(overall=overall):
                channel.overall = overall
            case live.SpeechStartEvent():
                channel.speaking = True
            case live.SpeechEvent():
                channel.speaking = False
            case live.SpeakerEvent(speaker=speaker):
                self._known(channel, speaker)

    def of_server(self, event: client.Event) -> None:
        """An event of a server."""
        match event:
            case client.Gap(start=start, end=end, reason=reason):
                self.note(f"gap {clock(start)} to {clock(end)}, not analysed: {reason}")
            case client.Alert(rule=rule, channel=number):
                where = self.channels[number].name if number in self.channels else "the call"
                self.note(f"alert {rule}: {where}")
            case client.Problem(code=code, message=message):
                self.note(f"error {code}: {message}")
            case client.Missed(first=first, last=last):
                self.note(f"events {first} to {last} were missed while the connection was cut")
            case client.Closed(reason=reason, channels=ends):
                self.ended = reason
                for one in ends:
                    if one.channel in self.channels:
                        self.channels[one.channel].overall = one.overall
            case _:
                self._of_channel(event)

    def _of_channel(self, event: Any) -> None:
        channel = self.channels.get(getattr(event, "channel", 0))
        if channel is None:
            return
        match event:
            case client.WindowTone(window=window):
                self._window(channel, window)
            case client.Tone(current=current, overall=overall):
                channel.current, channel.overall = current, overall
                self._settle(channel)
            case client.SpeechStart():
                channel.speaking = True
            case client.SpeechEnd():
                channel.speaking = False
            case client.SpeakerKnown(speaker=speaker):
                self._known(channel, speaker)

    def _known(self, channel: Channel, speaker: SpeakerUse) -> None:
        self.note(f"{channel.name}: speaker {speaker_words(speaker)}")
        for warning in speaker.warnings:
            self.note(f"{channel.name}: {warning}")

    def _window(self, channel: Channel, window: Window) -> None:
        self._settle(channel)  # one that changed no average
        channel.windows.append(window)
        channel.pending = True
        if window.sentiment is None or not window.speech_seconds:
            self._settle(channel)

    def _settle(self, channel: Channel) -> None:
        if channel.pending and self.on_window is not None:
            self.on_window(channel)
        channel.pending = False
