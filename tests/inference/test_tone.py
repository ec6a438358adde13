from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicetone.inference.tone import Tone
from voicetone.types import Current, LabelSpace, Overall, Window

SENTIMENT = LabelSpace("sentiment", ("positive", "neutral", "negative"))
EMOTION = LabelSpace("emotion", ("anger", "calm"))


def _tone(threshold: float = 0.0) -> Tone:
    return Tone(SENTIMENT, EMOTION, threshold)


def _window(seconds: float, positive: float = 0.5, speech: bool = True, end: float = 5.0) -> Window:
    rest = (1 - positive) / 2
    return Window(
        start=end - 5.0,
        end=end,
        speech=speech,
        speech_seconds=seconds,
        sentiment={"positive": positive, "neutral": rest, "negative": rest} if speech else None,
        emotion={"anger": 1 - positive, "calm": positive} if speech else None,
    )


def _add(tone: Tone, *windows: Window) -> Current:
    current = [tone.add(window) for window in windows][-1]
    assert current is not None
    assert current.sentiment is not None
    return current


def test_without_speech_there_is_nothing_to_say() -> None:
    tone = _tone()
    assert tone.add(_window(0.0, speech=False)) is None
    assert tone.add(_window(0.0)) is None, "speech in the older part only has been counted before"
    assert tone.overall() == Overall(0.0, None, None, None, None)


def test_overall_weights_by_seconds() -> None:
    tone = _tone()
    _add(tone, _window(3.0, 1.0), _window(1.0, 0.0))
    overall = tone.overall()
    assert overall.speech_seconds == 4.0
    assert overall.sentiment == pytest.approx(
        {"positive": 0.75, "neutral": 0.125, "negative": 0.125}
    )
    assert overall.emotion == pytest.approx({"anger": 0.25, "calm": 0.75})
    assert (overall.label, overall.confidence) == ("positive", pytest.approx(0.75))


def test_current_takes_the_oldest_in_part() -> None:
    """12 windows of 2.5 s are 30 s; one second more pushes one second of the first out."""
    tone = _tone()
    _add(tone, _window(2.5, 1.0), *[_window(2.5, 0.0)] * 11)
    current = _add(tone, _window(1.0, 0.0, end=40.0))
    assert current.sentiment is not None
    assert current.sentiment["positive"] == pytest.approx(1.5 / 30)
    assert current.end == 40.0
    current = _add(tone, _window(1.5, 0.0))
    assert current.sentiment is not None
    assert current.sentiment["positive"] == pytest.approx(0.0)
    assert tone.overall().sentiment["positive"] == pytest.approx(2.5 / 32.5)  # type: ignore[index]


def test_low_confidence_gives_scores_and_no_label() -> None:
    tone = _tone(threshold=0.6)
    current = _add(tone, _window(2.0, 0.55))
    overall = tone.overall()
    assert current.label is None
    assert overall.label is None
    assert overall.confidence == pytest.approx(0.55)
    assert overall.sentiment is not None
    assert _add(tone, _window(20.0, 0.9)).label == "positive"


@given(st.lists(st.tuples(st.integers(0, 80), st.floats(0, 1)), min_size=1, max_size=60))
def test_current_is_the_mean_of_the_newest_30_seconds(parts: list[tuple[int, float]]) -> None:
    tone = _tone()
    seconds: list[float] = []  # the score of each frame of active speech
    for frames, positive in parts:
        current = tone.add(_window(frames / 32, positive))
        seconds += [positive] * frames
        assert tone.current_seconds <= 30.0
        if current is None:
            assert frames == 0
            continue
        newest = seconds[-30 * 32 :]
        assert tone.current_seconds == len(newest) / 32
        assert current.sentiment is not None
        assert current.sentiment["positive"] == pytest.approx(sum(newest) / len(newest), abs=1e-9)
        assert len(tone._recent) <= 30 * 32
    if seconds:
        overall = tone.overall()
        assert overall.sentiment is not None
        assert overall.sentiment["positive"] == pytest.approx(sum(seconds) / len(seconds))
        assert overall.speech_seconds == pytest.approx(len(seconds) / 32)
