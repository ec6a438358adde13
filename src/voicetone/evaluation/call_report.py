"""An analysed call as one HTML page that opens from disk without a network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from voicetone.evaluation import call_picture as picture
from voicetone.evaluation.call_audio import player
from voicetone.evaluation.call_words import (
    TurningPoint,
    cautions,
    clock,
    how_it_went,
    speaker_words,
    title_of,
    tone_of,
    turning_points,
    verdict,
)
from voicetone.evaluation.page import fill
from voicetone.types import SENTIMENTS, ChannelResult, FileResult, Floats, Scores

__all__ = ["TurningPoint", "render", "turning_points"]

MOST_ROWS = 400  # of a channel's table
MOST_POINTS = 8  # turning points of a channel
MARKS = {"positive": "▲", "neutral": "●", "negative": "▼"}
# Rows of a channel's picture: top and height in px.
WAVE, SPEECH, BALANCE, STRIP = (22, 56), (82, 8), (102, 52), (156, 20)
BANDS, HEAT_TOP, HEAT_ROW, AXIS = (188, 88), 288, 14, 24


@dataclass(frozen=True, slots=True)
class Point:
    """A turning point with its number in the page and its place on the axis in per cent."""

    number: int
    left: float
    time: float
    clock: str
    label: str
    words: str


@dataclass(frozen=True, slots=True)
class Lane:
    """All that the page shows of one channel."""

    index: int
    title: str
    verdict: str
    label: str | None
    confidence: float | None
    sentiment: list[tuple[str, float]]
    emotions: list[tuple[str, float]]
    labels: tuple[str, ...]
    speech_seconds: float
    share: float
    story: str
    speaker: str
    points: list[Point]
    left_out: int
    wave: str
    speech: str
    bands: Mapping[str, str]
    heat: list[str]
    balance: str
    strip: list[picture.Run]
    rows: list[picture.Column]
    merged: int
    windows: int
    height: int


def render(
    result: FileResult,
    *,
    spec: Mapping[str, Any],
    peaks: Floats | None = None,
    audio: Path | None = None,
    folder: Path | None = None,
) -> str:
    """The report, as text to be written in UTF-8.

    Args:
        result: the analysed recording.
        spec: the model's card, as `bundle.json` holds it; what is missing is left out.
        peaks: `[channels, bins, 2]`, least and greatest sample per bin and channel, of the
            analysed channels; None for no waveform.
        audio: the recording, for the player: up to 15 minutes are put into the page, longer
            ones are linked. None, or a file that can't be played, for no player.
        folder: where the page will lie, for that link; the current folder by default.
    """
    duration = max(result.duration, 1e-3)
    sure_from = _sure_from(spec)
    drawn = np.zeros((0, 0, 2), np.float32) if peaks is None else peaks
    indices = range(len(result.channels))
    lanes = _numbered([_lane(result, index, drawn, duration, sure_from) for index in indices])
    sound = player(audio, result.duration, folder or Path.cwd())
    return fill(
        "call_report.html",
        "call_report.css",
        script="call_report.js",
        players=[sound],
        filters=FILTERS,
        marks=MARKS,
        file=_file_name(result.file),
        model=result.model,
        duration=result.duration,
        length=clock(duration) if duration >= 1 else f"{result.duration:.3f} s",
        lanes=lanes,
        held=_held(result),
        turns=sorted((p for lane in lanes for p in lane.points), key=lambda p: p.number),
        cautions=cautions(result),
        ticks=picture.ticks(duration),
        card=_card(spec),
        notice=spec.get("notice"),
        training=_training(spec),
        attribution=list(spec.get("attribution") or []),
        answers=_answers(spec),
        metrics=_flat(spec.get("metrics") or {}),
        sure_from=sure_from,
        player=sound,
        data=_script_data(result, lanes, duration),
        layout=_layout(),
    )


def _lane(result: FileResult, index: int, peaks: Floats, duration: float, sure_from: float) -> Lane:
    channel = result.channels[index]
    sole = len(result.channels) == 1
    overall = channel.overall
    slices = picture.columns(channel.windows, duration)
    rows = picture.columns(channel.windows, duration, MOST_ROWS)
    emotions = _emotions(channel)
    who = tone_of(channel, sole)
    points = turning_points(channel, sure_from, who)
    shown = _clearest(points)
    spoken = overall.sentiment is not None
    begin = next((column.start for column in slices if column.sentiment is not None), 0.0)
    return Lane(
        index=index,
        title=title_of(channel, sole),
        verdict=verdict(channel),
        label=overall.label,
        confidence=overall.confidence,
        sentiment=_ordered(overall.sentiment),
        emotions=sorted((overall.emotion or {}).items(), key=lambda item: -item[1])[:3],
        labels=emotions,
        speech_seconds=overall.speech_seconds,
        share=min(1.0, overall.speech_seconds / duration),
        story=how_it_went(channel, sure_from, who),
        speaker=speaker_words(channel.speaker) if channel.speaker else "",
        points=[_point(point, duration) for point in shown],
        left_out=len(points) - len(shown),
        wave=picture.waveform(peaks[index]) if index < len(peaks) else "",
        speech=picture.speech(channel.speech, duration),
        bands=picture.bands(slices, duration),
        heat=picture.heat(slices, emotions, duration),
        balance=picture.balance(channel.current, begin, duration),
        strip=picture.strip(channel.current, begin, duration),
        rows=rows,
        merged=-(-len(channel.windows) // max(1, len(rows))),
        windows=len(channel.windows),
        height=(HEAT_TOP + HEAT_ROW * len(emotions) if spoken else sum(SPEECH) + 6) + AXIS,
    )


def _held(result: FileResult) -> str:
    """How many channels or parties there are, in words."""
    count, what = len(result.channels), "channel"
    if result.split is not None and result.split.speakers:
        what = "speaker"
    words = f"{count} {what}" if count == 1 else f"{count} {what}s"
    return f"1 channel, {words} (estimated)" if what == "speaker" else words


def _point(point: TurningPoint, duration: float) -> Point:
    left = round(100 * point.time / duration, 3)
    return Point(0, left, round(point.time, 2), clock(point.time), point.label, str(point))


def _numbered(lanes: list[Lane]) -> list[Lane]:
    """The lanes with their turning points numbered in the order of the call."""
    ranks = sorted(
        (point.time, lane.index, place) for lane in lanes for place, point in enumerate(lane.points)
    )
    numbers = {(index, place): i for i, (_, index, place) in enumerate(ranks, 1)}
    return [
        replace(
            lane,
            points=[
                replace(point, number=numbers[lane.index, place])
                for place, point in enumerate(lane.points)
            ],
        )
        for lane in lanes
    ]


def _clearest(points: list[TurningPoint]) -> list[TurningPoint]:
    ranked = sorted(points, key=lambda p: p.was - p.score)[:MOST_POINTS]
    return sorted(ranked, key=lambda p: p.time)


def _emotions(channel: ChannelResult) -> tuple[str, ...]:
    if channel.overall.emotion:
        return tuple(channel.overall.emotion)
    found = next((w.emotion for w in channel.windows if w.emotion), None)
    return tuple(found or ())


def _ordered(scores: Scores | None) -> list[tuple[str, float]]:
    return [] if scores is None else [(label, scores.get(label, 0.0)) for label in SENTIMENTS]


def _sure_from(spec: Mapping[str, Any]) -> float:
    return float((spec.get("dont_know") or {}).get("sentiment", 0.0))


def _card(spec: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The model's facts that fit on a line each."""
    facts = []
    name = " ".join(str(spec[key]) for key in ("name", "version") if spec.get(key))
    facts.append(("Model", name or "not named"))
    for title, key in (("Licence", "licence"), ("Made", "created")):
        if spec.get(key):
            facts.append((title, str(spec[key])))
    if spec.get("parameters"):
        facts.append(("Parameters", f"{spec['parameters']:,}"))
    if spec.get("window_seconds") and spec.get("hop_seconds"):
        facts.append(
            ("Hears", f"{spec['window_seconds']:g} s at a time, every {spec['hop_seconds']:g} s")
        )
    return facts


def _training(spec: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Corpus, licence, utterances, hours and note of each corpus."""
    found = []
    for corpus in spec.get("training") or []:
        number = corpus.get("utterances")
        found.append(
            (
                str(corpus.get("corpus", "")),
                str(corpus.get("licence", "")),
                "" if number is None else f"{number:,}",
                _number(corpus.get("hours", "")),
                str(corpus.get("note", "")),
            )
        )
    return found


def _answers(spec: Mapping[str, Any]) -> str | None:
    """What is known of the model's doubt, as a sentence."""
    threshold = _sure_from(spec)
    if not threshold:
        return None
    said = (
        f"It names a sentiment when its probability is at least {threshold:.2f}, and else says "
        "that it doesn't know."
    )
    curve = (spec.get("dont_know") or {}).get("curve") or []
    near = min(curve, key=lambda row: abs(row[0] - threshold), default=None)
    if near is None or abs(near[0] - threshold) > 0.02:
        return said
    return (
        f"{said} On the data it was measured on it so answered in {near[1]:.0%} of cases, and was "
        f"right in {near[2]:.0%} of those."
    )


def _flat(metrics: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested metrics as lines."""
    if isinstance(metrics, Mapping):
        lines = []
        for key, value in metrics.items():
            name = f"{prefix} · {key}" if prefix else str(key)
            lines += _flat(value, name.replace("_", " "))
        return lines
    if isinstance(metrics, list | tuple):
        return [(prefix, " – ".join(_number(value) for value in metrics))]
    return [(prefix, _number(metrics))]


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _file_name(file: str) -> str:
    return "standard input" if file == "-" else Path(file).name or file


def _tenths(seconds: float) -> str:
    tenths = round(10 * seconds)
    return f"{clock(tenths // 10)}.{tenths % 10}"


def _spoken(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else clock(seconds)


FILTERS = {
    "clock": clock,
    "tenths": _tenths,
    "spoken": _spoken,
    "score": lambda value: f"{value:.2f}",
}


def _script_data(result: FileResult, lanes: list[Lane], duration: float) -> str:
    """What the page's script reads, as JSON that can't end its element."""
    data = {
        "duration": round(duration, 3),
        "sentiments": SENTIMENTS,
        "lanes": [
            {
                "emotions": lane.labels,
                "columns": [
                    _column(column, lane.labels)
                    for column in picture.columns(channel.windows, duration)
                ],
                "current": [[round(run.left, 2), run.label] for run in lane.strip],
            }
            for lane, channel in zip(lanes, result.channels, strict=True)
        ],
    }
    text = json.dumps(data, separators=(",", ":"))  # ASCII only
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _column(column: picture.Column, emotions: tuple[str, ...]) -> list[Any]:
    """End, and with speech the scores in hundredths."""
    if column.sentiment is None:
        return [round(column.end, 2)]
    return [
        round(column.end, 2),
        [round(100 * column.sentiment.get(label, 0.0)) for label in SENTIMENTS],
        [round(100 * (column.emotion or {}).get(label, 0.0)) for label in emotions],
    ]


def _layout() -> dict[str, Any]:
    return {
        "wave": WAVE,
        "speech": SPEECH,
        "balance": BALANCE,
        "strip": STRIP,
        "bands": BANDS,
        "heat": HEAT_TOP,
        "row": HEAT_ROW,
        "axis": AXIS,
        "width": picture.WIDTH,
        "height": picture.HEIGHT,
        "levels": picture.LEVELS,
    }
