"""Voice tone tasks without a server: their events, and what a start may say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicetone.server.chime import Command, start_of
from voicetone.server.chime_events import LegTone
from voicetone.server.chime_tasks import ChimeError, ChimeSettings, Kind, is_caller
from voicetone.types import LabelSpace

ARN = "arn:aws:kinesisvideo:us-east-1:000000000000:stream/line-7/1234567890123"


def leg(start: float = 0.0) -> LegTone:
    sentiment = LabelSpace("sentiment", ("positive", "neutral", "negative"))
    return LegTone(sentiment, LabelSpace("emotion", ("calm",)), start, 1_000_000.0)


def window(start: float, speech: float, negative: float = 0.5) -> dict[str, Any]:
    sentiment = {"positive": 0.0, "neutral": 1 - negative, "negative": negative}
    return {
        "start": start,
        "end": start + 5.0,
        "speech": speech > 0,
        "speech_seconds": speech,
        "sentiment": sentiment if speech else None,
        "emotion": {"calm": 1.0} if speech else None,
        "lag_ms": 1.0,
    }


def test_an_event_every_five_seconds_whatever_the_start() -> None:
    for start in (0.0, 1.3, 2.5, 12.49):
        tone = leg(start)
        told = [n * 2.5 + 5.0 for n in range(40) if tone.window(window(n * 2.5, 2.5))]
        assert len(told) in (16, 17, 18, 19, 20)
        assert set(np.diff(told)) == {5.0}
        assert 5.0 <= told[0] - start < 7.5


def test_current_is_of_the_newest_thirty_seconds_of_speech() -> None:
    tone = leg()
    for n in range(40):
        tone.window(window(n * 2.5, 2.5, 0.1 if n < 28 else 0.9))
    details = tone.details()
    assert details is not None
    current, overall = details["currentAverageVoiceTone"], details["overallAverageVoiceTone"]
    assert current["voiceToneScore"]["negative"] == 0.9
    assert current["voiceToneLabel"] == "negative"
    assert overall["voiceToneScore"]["negative"] == pytest.approx((28 * 0.1 + 12 * 0.9) / 40)
    assert overall["startTime"] == "1970-01-12T13:46:40.000Z"
    assert current["startTime"] == "1970-01-12T13:47:50.000Z"  # 28 windows on
    assert current["endTime"] == overall["endTime"] == "1970-01-12T13:48:22.500Z"


def test_ten_seconds_without_talk_are_a_failure_until_it_goes_on() -> None:
    tone = leg()
    speech = [2.5] * 3 + [0.0] * 8 + [2.5] * 3
    told = [tone.window(window(n * 2.5, s)) for n, s in enumerate(speech)]
    found = {n * 2.5 + 5.0: t.status[17:] for n, t in enumerate(told) if t}
    # Speech until 10 s: failure from 20 s on, until it is heard again in the window to 32.5 s.
    assert found == {
        5.0: "Successful",
        10.0: "Successful",
        15.0: "Successful",
        20.0: "Failure",
        25.0: "Failure",
        30.0: "Failure",
        35.0: "Successful",
    }


def test_which_channel_is_the_callers() -> None:
    assert [is_caller(("agent", "customer"), n) for n in (1, 2)] == [False, True]
    assert [is_caller(("external", "internal"), n) for n in (1, 2)] == [True, False]
    assert [is_caller(None, n) for n in (1, 2)] == [True, False]


def test_settings_that_cannot_be() -> None:
    assert replace(ChimeSettings(), account="123456789012").account == "123456789012"
    for words in ({"account": "12"}, {"region": "US EAST"}, {"keep": 0}, {"taks": 3}):
        with pytest.raises(ValueError, match=next(iter(words))):
            ChimeSettings(**words)  # type: ignore[arg-type]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
FIELDS = ("TransactionId", "LanguageCode", "ClientRequestToken", "StreamArn", "ChannelId")
STREAM = "KinesisVideoStreamSourceTaskConfiguration"


@given(
    kind=st.sampled_from(["voice", "pipeline"]),
    body=st.dictionaries(st.sampled_from([*FIELDS, STREAM]), values | st.just("en-US")),
    stream=st.none() | st.dictionaries(st.sampled_from(FIELDS), values | st.just(ARN)),
)
def test_no_body_of_a_start_makes_it_stumble(
    kind: Kind, body: dict[str, Any], stream: dict[str, Any] | None
) -> None:
    body = body if stream is None else {**body, STREAM: stream}
    command = Command(kind=kind, operation="start", place="x", credential="desk", body=body)
    try:
        start = start_of(command)
    except ChimeError as error:
        said = error
    else:
        assert start.names
        assert start.channel in (None, 1, 2)
        return
    assert said.fault == "BadRequest"
    assert "\n" not in str(said)
