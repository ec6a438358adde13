"""Synthetic results for tests of the report: what an analysis might say, without one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from voicetone.types import (
    EMOTIONS,
    SENTIMENTS,
    ChannelResult,
    Current,
    FileResult,
    Floats,
    Overall,
    Scores,
    Segment,
    Window,
)

Mood = Callable[[float], float]  # time in s → valence from -1 to 1
HOSTILE = "</script><img src=x onerror=alert(1)>\"'&"
SPEC = {
    "name": "tone-small",
    "version": "0.1.0",
    "created": "2026-11-20",
    "licence": "CC-BY-NC-SA-4.0",
    "window_seconds": 5.0,
    "hop_seconds": 2.5,
    "parameters": 812_345,
    "dont_know": {"sentiment": 0.45, "curve": [[0.0, 1.0, 0.66], [0.45, 0.87, 0.71]]},
    "training": [
        {
            "corpus": "ravdess",
            "licence": "CC BY-NC-SA 4.0",
            "utterances": 1440,
            "hours": 1.5,
            "note": "24 actors, North American English",
        },
        {
            "corpus": "emodb",
            "licence": "CC0",
            "utterances": 339,
            "hours": 0.3,
            "note": "10 actors, German",
        },
    ],
    "attribution": ["RAVDESS, Livingstone and Russo, 2018", "EMO-DB, Burkhardt et al., 2005"],
    "notice": "The weights may not be used commercially.",
    "metrics": {"ravdess": {"uar": 0.6213, "interval": [0.581, 0.66]}, "speech": {"miss": 0.013}},
}


def scores(valence: float, noise: Sequence[float] = (0, 0, 0)) -> tuple[Scores, Scores]:
    """Sentiment and emotion probabilities for a valence."""
    raw = np.array([2.6 * valence, 0.9 - 1.2 * abs(valence), -2.6 * valence]) + np.array(noise)
    p = np.exp(raw) / np.exp(raw).sum()
    positive, neutral, negative = p.tolist()
    shares = {
        "anger": 0.55 * negative,
        "happiness": 0.8 * positive,
        "sadness": 0.2 * negative,
        "neutral": 0.6 * neutral,
        "fear": 0.1 * negative,
        "disgust": 0.15 * negative,
        "surprise": 0.2 * positive,
        "boredom": 0.1 * neutral,
        "calm": 0.3 * neutral,
    }
    return dict(zip(SENTIMENTS, p.tolist(), strict=True)), {e: shares[e] for e in EMOTIONS}


def channel(
    number: int,
    duration: float,
    mood: Mood,
    *,
    name: str | None = None,
    talks: Callable[[float], bool] = lambda t: True,
    flags: tuple[str, ...] = (),
    sure_from: float = 0.45,
    wobble: float = 0.5,
) -> ChannelResult:
    """A channel (from 1) with windows where the analysis has them and scores that follow a mood."""
    rng = np.random.default_rng(number)
    ends = [5 + 2.5 * i for i in range(int((duration - 5) / 2.5) + 1)] if duration >= 5 else []
    last = ends[-1] if ends else 0.0
    if duration - last >= 1 or not ends:
        ends.append(duration)
    windows, previous = [], 0.0
    for end in ends:
        tenths = np.arange(previous, end, 0.1)
        seconds = min(0.1 * sum(talks(float(t)) for t in tenths), end - previous)
        if seconds > 0:
            pair = scores(mood((previous + end) / 2), rng.normal(0, wobble, 3).tolist())
            windows.append(Window(max(0.0, end - 5), end, True, seconds, *pair))
        else:
            windows.append(Window(max(0.0, end - 5), end, False, 0.0, None, None))
        previous = end
    return ChannelResult(
        number,
        name,
        flags,
        tuple(windows),
        _current(windows, sure_from),
        _overall(windows, sure_from),
        _turns(duration, talks),
    )


def two_party() -> FileResult:
    """A call of 3 minutes whose customer grows angry at 0:52 and is content from 2:06."""

    def agent_talks(t: float) -> bool:
        return t % 17 < 7 and t % 1.9 < 1.6

    def customer_talks(t: float) -> bool:
        return t % 17 >= 7.6 and t % 2.3 < 2.0

    customer = channel(
        2,
        180,
        lambda t: 0.05 if t < 52 else -0.85 if t < 126 else 0.7,
        name="customer",
        talks=customer_talks,
    )
    agent = channel(1, 180, lambda t: 0.3, name="agent", talks=agent_talks)
    return FileResult("call.flac", 180.0, "tone-small 0.1.0", (), (agent, customer))


def mono() -> FileResult:
    talk = channel(1, 47.3, lambda t: math.cos(t / 9) * 0.5, talks=lambda t: t % 6 < 5)
    return FileResult(
        "voice memo.wav",
        47.3,
        "tone-small 0.1.0",
        ("clipped",),
        (
            ChannelResult(
                1, None, ("clipped",), talk.windows, talk.current, talk.overall, talk.speech
            ),
        ),
    )


def unsure() -> FileResult:
    talk = channel(1, 40, lambda t: 0.0, wobble=0.1, sure_from=0.95)
    return FileResult("murmur.wav", 40, "tone-small 0.1.0", (), (talk,))


def silence() -> FileResult:
    quiet = channel(1, 20, lambda t: 0.0, talks=lambda t: False, flags=("silent",))
    return FileResult("silence.wav", 20.0, "tone-small 0.1.0", ("silent",), (quiet,))


def short() -> FileResult:
    talk = channel(1, 0.62, lambda t: 0.4, flags=("short",))
    return FileResult("yes.wav", 0.62, "tone-small 0.1.0", ("short",), (talk,))


def three_hours(channels: int = 2) -> FileResult:
    def mood(i: int) -> Mood:
        return lambda t: 0.7 * math.sin(t / 1500 + i) - (0.9 if 5000 < t < 5600 else 0)

    length = 3 * 3600.0 - 30
    return FileResult(
        "board meeting.wav",
        length,
        "tone-small 0.1.0",
        (),
        tuple(
            channel(
                i + 1, length, mood(i), talks=lambda t, i=i: (t + 40 * i) % 90 < 55 and t % 7 < 6
            )
            for i in range(channels)
        ),
    )


def eight() -> FileResult:
    return FileResult(
        "round table.flac",
        600.0,
        "tone-small 0.1.0",
        (),
        tuple(
            channel(
                i + 1,
                600,
                lambda t, i=i: 0.6 * math.sin(t / 80 + i),
                name=f"seat {i + 1}",
                talks=lambda t, i=i: int(t / 12) % 8 == i,
            )
            for i in range(8)
        ),
    )


def hostile() -> FileResult:
    call = two_party()
    agent, customer = call.channels
    return FileResult(
        f"{HOSTILE}.wav",
        call.duration,
        HOSTILE,
        call.flags,
        (
            ChannelResult(
                1, HOSTILE, (HOSTILE,), agent.windows, agent.current, agent.overall, agent.speech
            ),
            customer,
        ),
    )


def peaks(result: FileResult, bins: int = 3000) -> Floats:
    """Made-up peaks `[channels, bins, 2]` that follow the turns of speech."""
    rng = np.random.default_rng(0)
    out = np.zeros((len(result.channels), bins, 2), np.float32)
    times = np.arange(bins) * result.duration / bins
    for row, one in zip(out, result.channels, strict=True):
        loud = np.full(bins, 0.004 if "silent" not in one.flags else 0.0)
        for turn in one.speech:
            loud[(times >= turn.start) & (times < turn.end)] = 0.45
        row[:, 1] = loud * rng.uniform(0.25, 1, bins)
        row[:, 0] = -loud * rng.uniform(0.25, 1, bins)
    return out


def _overall(windows: Sequence[Window], sure_from: float) -> Overall:
    spoken = [w for w in windows if w.sentiment and w.emotion]
    seconds = sum(w.speech_seconds for w in spoken)
    if not spoken:
        return Overall(0.0, None, None, None, None)
    pair = [
        {k: sum(s[k] * w for s, w in found) / seconds for k in found[0][0]}
        for found in (
            [(w.sentiment or {}, w.speech_seconds) for w in spoken],
            [(w.emotion or {}, w.speech_seconds) for w in spoken],
        )
    ]
    label = max(pair[0], key=lambda k: pair[0][k])
    best = pair[0][label]
    return Overall(seconds, label if best >= sure_from else None, best, pair[0], pair[1])


def _current(windows: Sequence[Window], sure_from: float) -> tuple[Current, ...]:
    found: list[Current] = []
    recent: list[Window] = []
    for window in windows:
        if not window.speech:
            continue
        recent = [*recent, window][-12:]
        overall = _overall(recent, sure_from)
        found.append(Current(window.end, overall.label, overall.sentiment, overall.emotion))
    return tuple(found)


def _turns(duration: float, talks: Callable[[float], bool]) -> tuple[Segment, ...]:
    turns, start = [], None
    for t in np.arange(0, duration, 0.1).tolist():
        if talks(t) and start is None:
            start = t
        elif not talks(t) and start is not None:
            turns.append(Segment(start, t))
            start = None
    if start is not None:
        turns.append(Segment(start, duration))
    return tuple(turns)
