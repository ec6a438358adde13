"""What calls come to: where they turn negative, by day and queue."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicetone.server.archive import StoredCall, call_tone, summarise, turned_negative

LABELS = st.sampled_from(["positive", "neutral", "negative", None])
POINTS = st.lists(LABELS, max_size=30).map(
    lambda labels: [(2.5 * (at + 2), label) for at, label in enumerate(labels)]
)


def test_a_call_turns_where_it_stays_negative() -> None:
    points = [(5.0, "neutral"), (10.0, "negative"), (15.0, "neutral"), (20.0, "negative")]
    assert turned_negative(points) is None  # not for long enough
    assert turned_negative([*points, (25.0, None), (30.0, "negative")]) == 20.0
    assert turned_negative([*points, (30.0, "negative"), (32.5, "positive")]) is None
    assert turned_negative([]) is None


@given(POINTS)
def test_from_the_turn_on_nothing_but_negative_is_said(
    points: list[tuple[float, str | None]],
) -> None:
    turned = turned_negative(points)
    if turned is not None:
        after = [label for end, label in points if end >= turned]
        assert after[0] == "negative"
        assert set(after) <= {"negative", None}
        before = [label for end, label in points if end < turned and label is not None]
        assert not before or before[-1] != "negative"
    elif [label for _, label in points if label is not None][-1:] == ["negative"]:
        ends = [end for end, label in points if label == "negative"]
        run = [e for e in ends if not any(e < f for f, x in points if x not in ("negative", None))]
        assert run[-1] - run[0] < 10


def tone(end: float, label: str | None, negative: float, speech: float) -> dict[str, Any]:
    overall = {"speech_seconds": speech, "label": label, "sentiment": {"negative": negative}}
    return {"end": end, "current": {"label": label}, "overall": overall}


def test_a_call_s_channels_and_the_sum_of_calls() -> None:
    tones = [(2, tone(5.0, "neutral", 0.2, 4.0)), (1, tone(5.0, "neutral", 0.1, 5.0))]
    tones += [(2, tone(at, "negative", 0.6, at)) for at in (50.0, 60.0, 80.0)]
    one, two = call_tone(tones)
    assert (one.channel, one.turned, one.negative) == (1, None, 0.1)
    assert (two.speech_seconds, two.label, two.negative, two.turned) == (80.0, "negative", 0.6, 50)
    stored = [tone.to_dict() for tone in (one, two)]
    day = 1_700_000_000.0  # 2023-11-14
    got = summarise(
        [
            StoredCall(day, "billing", 100.0, stored),
            StoredCall(day, None, 40.0, stored[:1]),
            StoredCall(day + 86400, "billing", 0.0, []),
        ]
    )
    names = [(part["day"], part["queue"]) for part in got["days"]]
    assert names == [("2023-11-15", "billing"), ("2023-11-14", None), ("2023-11-14", "billing")]
    billing = got["days"][2]
    assert billing["turned_at"] == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert billing["negative"] == pytest.approx((5 * 0.1 + 80 * 0.6) / 85, abs=1e-4)
    assert got["days"][0]["negative"] is None
    total = got["total"]
    assert (total["calls"], total["negative_calls"], total["turned_calls"]) == (3, 1, 1)
    assert total["speech_seconds"] == 90.0
