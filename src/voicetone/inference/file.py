"""A recording as a whole: the live route, fed block by block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from voicetone.audio.decode import RawFormat, open_audio
from voicetone.errors import AudioError, UsageError
from voicetone.inference.channels import rows_of
from voicetone.inference.live import (
    CurrentEvent,
    Event,
    LiveSession,
    OverallEvent,
    SpeechEvent,
    SpeechStartEvent,
    WindowEvent,
)
from voicetone.inference.overview import Overview
from voicetone.pretrained import load
from voicetone.pretrained.predictor import Predictor
from voicetone.types import ChannelResult, Current, FileResult, Overall, Segment, Window

__all__ = ["Overview", "Progress", "analyze"]

BLOCK_SECONDS = 10.0  # as many chunks as one job takes

Progress = Callable[[float, float | None], None]
"""Called with the seconds done and those in all, None where the source doesn't tell."""


def analyze(
    path: Path | str,
    predictor: Predictor | None = None,
    *,
    raw: RawFormat | None = None,
    channels: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    progress: Progress | None = None,
    overview: Overview | None = None,
) -> FileResult:
    """Analyse one recording.

    Args:
        path: file; "-" is standard input.
        predictor: the model; by default the installed one.
        raw: what headerless audio is.
        channels: those to analyse, counted from 1; by default the customer's if the names tell
            which that is, else all.
        names: one per channel.
        progress: told of the seconds done and in all after each block.
        overview: collects the outline of the analysed channels.

    Raises:
        AudioError: the file can't be read or analysed.
        UsageError: names or channels that don't fit the file.
        BundleError: no model, or one that fails.
    """
    predictor = load() if predictor is None else predictor
    with open_audio(path, raw) as source:
        try:
            session = LiveSession(
                predictor, source.rate, source.channels, names=names, analysed=channels
            )
        except UsageError as error:
            raise UsageError(f"{source.name}: {error}") from None
        results = {channel: _Collected() for channel in session.channels}
        rows = rows_of(session.channels)
        total = None if source.frames is None else source.frames / source.rate
        for block in source.blocks(BLOCK_SECONDS):
            try:
                _collect(results, session.push(block))
            except AudioError as error:
                raise AudioError(f"{source.name}: {error}") from None
            if overview is not None:
                overview.push(block[rows])
            if progress is not None:
                progress(session.seconds, total)
        _collect(results, session.close())
    found = tuple(
        result.of_channel(channel, names[row] if names else None, session.flags(channel))
        for row, (channel, result) in zip(rows, results.items(), strict=True)
    )
    said = {flag for channel in found for flag in channel.flags}
    return FileResult(
        file=str(path),
        duration=session.seconds,
        model=predictor.spec.id,
        flags=tuple(flag for flag in ("short", "silent", "clipped") if flag in said),
        channels=found,
        speech_from=predictor.spec.speech_from,
    )


@dataclass(slots=True)
class _Collected:
    """The events of one channel."""

    windows: list[Window] = field(default_factory=list)
    current: list[Current] = field(default_factory=list)
    speech: list[Segment] = field(default_factory=list)
    overall: Overall = field(default_factory=lambda: Overall(0.0, None, None, None, None))

    def of_channel(self, channel: int, name: str | None, flags: tuple[str, ...]) -> ChannelResult:
        return ChannelResult(
            channel=channel,
            name=name,
            flags=flags,
            windows=tuple(self.windows),
            current=tuple(self.current),
            overall=self.overall,
            speech=tuple(self.speech),
        )


def _collect(results: dict[int, _Collected], events: list[Event]) -> None:
    for event in events:
        result = results[event.channel]
        match event:
            case WindowEvent(window=window):
                result.windows.append(window)
            case CurrentEvent(current=current):
                result.current.append(current)
            case SpeechStartEvent():
                pass  # its end comes with the whole turn
            case SpeechEvent(segment=segment):
                result.speech.append(segment)
            case OverallEvent(overall=overall):
                result.overall = overall
