"""The geometry of a channel's pictures: times and scores → SVG paths of bounded length.

Horizontal units are `WIDTH` for the whole recording, vertical ones `HEIGHT` for a picture; the
page stretches them to the room there is. Text is placed in per cent, so it is not stretched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from voicetone.evaluation.call_words import clock, newest_parts
from voicetone.types import SENTIMENTS, Current, Floats, Scores, Segment, Window

WIDTH = 4000
HEIGHT = 1000
OVERLAP = 6  # units, half a pixel
MOST_COLUMNS = 600
MOST_BINS = 1200
LEVELS = 10  # steps of shade in the heat map
MOST_TICKS = 9
_STEPS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)  # s


@dataclass(frozen=True, slots=True)
class Column:
    """A slice of a picture, `start` to `end` in s; scores are None where it holds no speech."""

    start: float
    end: float
    speech_seconds: float
    sentiment: Scores | None
    emotion: Scores | None


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch of the label strip: place and width in per cent; `label` None is not known."""

    left: float
    width: float
    label: str | None


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of the time axis."""

    left: float
    text: str
    anchor: str
    minor: bool


def columns(windows: Sequence[Window], duration: float, most: int = MOST_COLUMNS) -> list[Column]:
    """The windows as slices that tile the recording, each standing for its newest part.

    More than `most` are merged evenly, scores weighted by the seconds of speech behind them.
    """
    parts = newest_parts(windows, duration)
    size = max(1, -(-len(parts) // most))
    found = []
    for first in range(0, len(parts), size):
        group = parts[first : first + size]
        spoken = [w for w, _, _ in group if w.sentiment is not None and w.speech_seconds > 0]
        found.append(
            Column(
                start=group[0][1],
                end=group[-1][2],
                speech_seconds=sum(w.speech_seconds for w, _, _ in group),
                sentiment=_mean([(w.sentiment, w.speech_seconds) for w in spoken]),
                emotion=_mean([(w.emotion, w.speech_seconds) for w in spoken]),
            )
        )
    return found


def bands(slices: Sequence[Column], duration: float) -> dict[str, str]:
    """The stacked sentiments: per label the path of its band, positive at the top.

    To be painted from the foot up (negative, neutral, positive): a band reaches a hair under the
    one above it, so that no seam shows between them.
    """
    paths: dict[str, list[str]] = {label: [] for label in SENTIMENTS}
    for run in _runs(slices):
        top = [0.0] * len(run)
        shares = [_shares(column) for column in run]
        for place, label in enumerate(SENTIMENTS):
            foot = [y + share[place] for y, share in zip(top, shares, strict=True)]
            paths[label].append(_band(run, top, foot, duration))
            top = foot
    return {label: "".join(parts) for label, parts in paths.items()}


def heat(slices: Sequence[Column], emotions: Sequence[str], duration: float) -> list[str]:
    """The heat map: for each shade from 0 to `LEVELS` the path of its cells, one row an emotion."""
    paths: list[list[str]] = [[] for _ in range(LEVELS + 1)]
    row = HEIGHT / max(1, len(emotions))
    for index, emotion in enumerate(emotions):
        top, foot = round(index * row), round((index + 1) * row)
        for level, start, end in _level_runs(slices, emotion):
            left, right = _x(start, duration), _x(end, duration)
            paths[level].append(f"M{left} {top}H{right}V{foot}H{left}z")
    return ["".join(path) for path in paths]


def balance(currents: Sequence[Current], begin: float, duration: float) -> str:
    """Positive minus negative over the last 30 s of speech, as an area around the middle.

    It begins where speech does, `begin` s.
    """
    points = []
    previous = begin
    for current in _thinned(currents):
        sentiment = current.sentiment
        if sentiment is None:
            continue
        value = sentiment.get("positive", 0.0) - sentiment.get("negative", 0.0)
        points.append((_x((previous + current.end) / 2, duration), value))
        previous = current.end
    if not points:
        return ""
    middle = HEIGHT // 2
    end = _x(min(previous, duration), duration)
    start = _x(begin, duration)
    points = [(start, points[0][1]), *points, (end, points[-1][1])]
    line = "L".join(f"{x} {round(middle * (1 - value))}" for x, value in points)
    return f"M{start} {middle}L{line}V{middle}z"


def strip(currents: Sequence[Current], begin: float, duration: float) -> list[Run]:
    """The label over the last 30 s of speech as it stood at the end of each piece."""
    found: list[Run] = []
    previous = begin
    for current in _thinned(currents):
        end = min(current.end, duration)
        left, width = 100 * previous / duration, 100 * (end - previous) / duration
        if found and found[-1].label == current.label:
            left, width = found[-1].left, found[-1].width + width
            found.pop()
        found.append(Run(round(left, 3), round(width, 3), current.label))
        previous = end
    return found


def speech(turns: Sequence[Segment], duration: float) -> str:
    """The speech bar. Turns that a screen could not show apart are drawn as one."""
    joined: list[list[int]] = []
    for turn in turns:
        left, right = _x(turn.start, duration), _x(min(turn.end, duration), duration)
        right = max(right, left + 1)
        if joined and left - joined[-1][1] <= 2:
            joined[-1][1] = max(joined[-1][1], right)
        else:
            joined.append([left, right])
    return "".join(f"M{left} 0H{right}V{HEIGHT}H{left}z" for left, right in joined)


def waveform(peaks: Floats) -> str:
    """The outline of a channel's lowest and highest samples.

    Args:
        peaks: `[bins, 2]`, least and greatest sample of each bin, full scale ±1.
    """
    if not len(peaks):
        return ""
    finite = np.nan_to_num(np.asarray(peaks, dtype=np.float32), nan=0.0, posinf=1.0, neginf=-1.0)
    starts = np.unique(np.linspace(0, len(finite), MOST_BINS, endpoint=False).astype(int))
    low = np.minimum.reduceat(finite[:, 0], starts).clip(-1, 1)
    high = np.maximum.reduceat(finite[:, 1], starts).clip(-1, 1)
    scale = max(float(np.abs([low.min(), high.max()]).max()), 0.05)  # near silence stays flat
    middle = HEIGHT / 2
    edges = [round(WIDTH * i / len(starts)) for i in range(len(starts) + 1)]
    top = [round(middle - middle * float(v) / scale) for v in high]
    foot = [round(middle - middle * float(v) / scale) for v in low]
    spans = list(zip(edges, edges[1:], top, foot, strict=False))
    forth = "".join(f"L{left} {y}H{right}" for left, right, y, _ in spans)
    # A hair below the top edge, so that silence shows as a line.
    back = "".join(f"L{right} {max(z, y + 8)}H{left}" for left, right, y, z in reversed(spans))
    return f"M{forth[1:]}{back}z"


def ticks(duration: float) -> list[Tick]:
    """Marks of the time axis at round times."""
    step = next((s for s in _STEPS if duration / s <= MOST_TICKS), _STEPS[-1])
    while duration / step > MOST_TICKS:
        step *= 2
    found = []
    for i in range(int(duration / step + 1e-9) + 1):
        left = 100 * i * step / duration
        anchor = "start" if i == 0 else "end" if left > 97 else "middle"
        text = clock(i * step) if step >= 1 else f"{i * step:g} s"
        found.append(Tick(round(left, 3), text, anchor, i % 2 == 1))
    return found


def _x(seconds: float, duration: float) -> int:
    return min(WIDTH, max(0, round(WIDTH * seconds / duration)))


def _mean(scores: Sequence[tuple[Scores | None, float]]) -> Scores | None:
    known = [(s, max(weight, 1e-6)) for s, weight in scores if s is not None]
    if not known:
        return None
    total = sum(weight for _, weight in known)
    labels = list(known[0][0])
    return {label: sum(s.get(label, 0.0) * w for s, w in known) / total for label in labels}


def _runs(slices: Iterable[Column]) -> Iterator[list[Column]]:
    """Slices with speech that follow one another without a gap."""
    run: list[Column] = []
    for column in slices:
        if column.sentiment is not None:
            run.append(column)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _shares(column: Column) -> tuple[float, float, float]:
    values = [max(0.0, (column.sentiment or {}).get(label, 0.0)) for label in SENTIMENTS]
    total = sum(values) or 1.0
    positive, neutral, negative = (value / total for value in values)
    return positive, neutral, negative


def _band(
    run: Sequence[Column], top: Sequence[float], foot: Sequence[float], duration: float
) -> str:
    """Between two lines through the middles of the slices."""
    left, right = _x(run[0].start, duration), _x(run[-1].end, duration)
    middles = [_x((column.start + column.end) / 2, duration) for column in run]
    xs = [left, *middles, right]
    over = [max(0, round(HEIGHT * y) - OVERLAP) for y in (top[0], *top, top[-1])]
    under = [round(HEIGHT * y) for y in (foot[0], *foot, foot[-1])]
    forth = [f"{x} {y}" for x, y in zip(xs, over, strict=True)]
    back = [f"{x} {y}" for x, y in zip(reversed(xs), reversed(under), strict=True)]
    return f"M{'L'.join(forth + back)}z"


def _level_runs(slices: Sequence[Column], emotion: str) -> Iterator[tuple[int, float, float]]:
    """Neighbouring slices of one shade as one."""
    pending: tuple[int, float, float] | None = None
    for column in slices:
        if column.emotion is None:
            if pending:
                yield pending
            pending = None
            continue
        level = min(LEVELS, max(0, round(LEVELS * column.emotion.get(emotion, 0.0))))
        if pending and pending[0] == level:
            pending = (level, pending[1], column.end)
        else:
            if pending:
                yield pending
            pending = (level, column.start, column.end)
    if pending:
        yield pending


def _thinned(currents: Sequence[Current]) -> Sequence[Current]:
    """At most `MOST_COLUMNS` of them, the newest among them."""
    size = max(1, -(-len(currents) // MOST_COLUMNS))
    return currents[::-1][::size][::-1]
