"""A channel's windows as stretches of speech with one tone each: what label tracks are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from voicetone.evaluation.call_words import newest_parts
from voicetone.types import ChannelResult, FileResult, Scores, Segment, Window

SLIVER = 0.0005  # s: what three printed decimals can't tell from nothing


@dataclass(frozen=True, slots=True)
class Stretch:
    """Speech from `start` to `end` (s) in one tone.

    `sentiment` is None where the model is not sure; `score` is the greatest probability of the
    windows behind the stretch, None where there is none.
    """

    start: float
    end: float
    sentiment: str | None
    emotion: str | None
    score: float | None


def top(scores: Scores | None, at_least: float = 0.0) -> str | None:
    """The most probable label, or None when it is less probable than `at_least`."""
    if not scores:
        return None
    label = max(scores, key=lambda key: scores[key])
    return label if scores[label] >= at_least else None


def display_name(channel: ChannelResult) -> str:
    """The channel's name, or `channel1` and so on; a party that was estimated says so."""
    name = channel.name or f"channel{channel.channel}"
    return f"{name} (estimated)" if channel.estimated else name


def stretches(channel: ChannelResult, duration: float, sure_from: float) -> list[Stretch]:
    """The channel's turns of speech, cut where the tone changes.

    Args:
        channel: one channel of a result.
        duration: of the recording, in seconds.
        sure_from: probability under which a window's sentiment counts as not known.
    """
    found: list[Stretch] = []
    parts = list(newest_parts(channel.windows, duration))
    first = 0
    for turn in channel.speech:
        while first < len(parts) and parts[first][2] <= turn.start:
            first += 1
        for stretch in _turn_stretches(turn, parts[first:], duration, sure_from):
            _append(found, stretch)
    return found


def _turn_stretches(
    turn: Segment, parts: Sequence[tuple[Window, float, float]], duration: float, sure_from: float
) -> Iterator[Stretch]:
    last = min(turn.end, duration)
    covered = turn.start
    for window, start, end in parts:
        if start >= last:
            break
        begin, stop = max(start, covered), min(end, last)
        if stop - begin < SLIVER:
            continue
        scores = window.sentiment
        yield Stretch(
            begin,
            stop,
            top(scores, sure_from),
            top(window.emotion),
            None if not scores else max(scores.values()),
        )
        covered = stop
    if last - covered >= SLIVER:  # a tail too short for a window of its own
        yield Stretch(covered, last, None, None, None)


def _append(found: list[Stretch], new: Stretch) -> None:
    if found:
        old = found[-1]
        same = (old.sentiment, old.emotion) == (new.sentiment, new.emotion)
        if same and new.start - old.end < SLIVER:
            score = max((s for s in (old.score, new.score) if s is not None), default=None)
            found[-1] = replace(old, end=new.end, score=score)
            return
    found.append(new)


def file_stretches(
    result: FileResult, sure_from: float
) -> Iterator[tuple[ChannelResult, list[Stretch]]]:
    """Every channel with its stretches."""
    for channel in result.channels:
        yield channel, stretches(channel, result.duration, sure_from)
