"""Results made by hand, for tests of what is written from them."""

from __future__ import annotations

from voicetone.types import ChannelResult, Current, FileResult, Overall, Segment, Window

SPACES = {
    "sentiment": ["positive", "neutral", "negative"],
    "emotion": ["anger", "happiness", "sadness", "neutral"],
}
NEGATIVE = {"positive": 0.1, "neutral": 0.1, "negative": 0.8}
POSITIVE = {"positive": 0.7, "neutral": 0.2, "negative": 0.1}
TORN = {"positive": 0.3, "neutral": 0.36, "negative": 0.34}
ANGRY = {"anger": 0.7, "happiness": 0.1, "sadness": 0.1, "neutral": 0.1}
HAPPY = {"anger": 0.1, "happiness": 0.7, "sadness": 0.1, "neutral": 0.1}


def window(end: float, sentiment: dict[str, float] | None, seconds: float = 2.0) -> Window:
    emotion = None if sentiment is None else (ANGRY if sentiment is NEGATIVE else HAPPY)
    speech = sentiment is not None
    start = max(0.0, end - 5.0)
    return Window(start, end, speech, seconds if speech else 0.0, sentiment, emotion)


def channel(number: int = 2, name: str | None = "customer") -> ChannelResult:
    """Speech at 1-4 s (negative), 6-9 s (negative, then positive), 10.5-12 s (not sure)."""
    windows = (
        window(5.0, NEGATIVE, 3.0),
        window(7.5, NEGATIVE, 1.5),
        window(10.0, POSITIVE, 1.5),
        window(12.0, TORN, 1.5),
    )
    return ChannelResult(
        channel=number,
        name=name,
        flags=(),
        windows=windows,
        current=(Current(5.0, "negative", NEGATIVE, ANGRY),),
        overall=Overall(7.5, "negative", 0.5, {**NEGATIVE}, {**ANGRY}),
        speech=(Segment(1.0, 4.0), Segment(6.0, 9.0), Segment(10.5, 12.0)),
    )


def result(file: str = "calls/one.wav", *channels: ChannelResult) -> FileResult:
    """Twelve seconds."""
    return FileResult(file, 12.0, "toy 0.1.0", (), channels or (channel(),))


def silent(file: str = "silent.wav") -> FileResult:
    """Twelve seconds without speech."""
    empty = ChannelResult(
        channel=1,
        name=None,
        flags=("silent",),
        windows=(window(5.0, None), window(7.5, None), window(10.0, None), window(12.0, None)),
        current=(),
        overall=Overall(0.0, None, None, None, None),
        speech=(),
    )
    return FileResult(file, 12.0, "toy 0.1.0", ("silent",), (empty,))
