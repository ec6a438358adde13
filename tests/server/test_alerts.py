"""Alerts: when they are given, how often, and that nothing else gives them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from voicetone.errors import UsageError
from voicetone.server.alerts import AlertRule, AlertSettings, make_watch
from voicetone.server.call import CallStart
from voicetone.server.events import CallEvent, EventType

START = CallStart("native", 8000, channels=2, names=("agent", "customer"), consent=True)


def told(type: EventType, channel: int | None, **body: Any) -> CallEvent:
    return CallEvent("call", 1, 0.0, type, channel, body)


def tone(
    end: float,
    label: str | None,
    negative: float | None = 0.1,
    positive: float = 0.1,
    usual: float = 0.1,
    speech: float = 100.0,
    channel: int = 1,
) -> CallEvent:
    scores = None if negative is None else {"positive": positive, "negative": negative}
    overall = {"speech_seconds": speech, "sentiment": {"positive": 0.5, "negative": usual}}
    current = {"label": label, "sentiment": scores}
    return told("tone", channel, end=end, current=current, overall=overall)


def window(end: float, speech: float = 0.0, channel: int = 1) -> CallEvent:
    return told("window", channel, start=end - 5, end=end, speech_seconds=speech)


def alerts(
    rule: dict[str, Any], events: list[CallEvent], start: CallStart = START
) -> list[dict[str, Any]]:
    rules = TypeAdapter(AlertSettings).validate_python({"rules": [{"name": "r", **rule}]})
    watch = make_watch(rules)(start)
    return [dict(body) for event in events for body in watch.see(event)]


def times(*arguments: Any) -> list[float]:
    return [body["at"] for body in alerts(*arguments)]


def test_negative_for_so_long() -> None:
    rule = {"kind": "negative", "seconds": 10, "cool_down": 20}
    events = [tone(at * 2.5, "negative", 0.8) for at in range(2, 30)]
    (first, *rest) = alerts(rule, events)
    assert first == {
        "rule": "r",
        "kind": "negative",
        "channel": 1,
        "at": 15.0,
        "since": 5.0,
        "value": 0.8,
        "message": "negative for 10 s",
    }
    assert [body["at"] for body in rest] == [35.0, 55.0]
    events[4] = tone(15.0, "neutral")
    assert times(rule, events)[0] == 27.5
    assert times({**rule, "over": 0.9}, events) == []
    assert times({**rule, "over": 0.7}, [tone(e.body["end"], None, 0.8) for e in events])[0] == 15
    said = alerts({**rule, "message": "look here"}, events)
    assert {body["message"] for body in said} == {"look here"}


def test_only_the_channels_that_a_rule_names() -> None:
    events = [tone(at * 2.5, "negative", channel=c) for at in range(2, 20) for c in (1, 2)]
    rule = {"kind": "negative", "seconds": 5}
    assert [b["channel"] for b in alerts(rule, events)] == [1, 2]
    for channels in (["customer"], [2], ["customer", 7]):
        assert [b["channel"] for b in alerts({**rule, "channels": channels}, events)] == [2]
    assert alerts({**rule, "channels": ["nobody"]}, events) == []


def test_a_drop_against_the_call_s_average() -> None:
    rule = {"kind": "drop", "by": 0.5}
    assert times(rule, [tone(60.0, "neutral", 0.3, 0.2)]) == [60.0]  # 0.4 → -0.1
    assert times(rule, [tone(60.0, "neutral", 0.1, 0.1)]) == []
    assert times(rule, [tone(60.0, "neutral", 0.3, 0.2, speech=59.0)]) == []
    assert times(rule, [tone(60.0, None, None)]) == []
    lasting = {**rule, "seconds": 5}
    assert times(lasting, [tone(at, "neutral", 0.3, 0.2) for at in (60, 62.5, 65)]) == [65]


def test_silence_is_no_speech_not_lost_audio() -> None:
    rule = {"kind": "silence", "seconds": 10, "cool_down": 15}
    quiet = [window(at * 2.5) for at in range(2, 20)]
    assert times(rule, quiet) == [10.0, 25.0, 40.0]
    assert alerts(rule, quiet)[0]["channel"] is None
    lost = [told("gap", None, start=0.0, end=20.0, reason="network"), *quiet]
    assert times(rule, lost) == [30.0, 45.0]
    spoken = [told("speech.start", 1, start=4.0), *quiet[:6]]
    assert times(rule, spoken) == []
    spoken.append(told("speech.end", 1, start=4.0, end=18.0))
    assert times(rule, spoken + quiet[6:]) == [30.0, 45.0]
    # A turn of the other channel counts, too, unless only one is looked at.
    other = [told("speech.start", 2, start=1.0), *quiet]
    assert times(rule, other) == []
    assert times({**rule, "channels": [1]}, other) == [10.0, 25.0, 40.0]
    assert times(rule, quiet, CallStart("native", 8000, offset=9.0))[0] == 20.0


def test_both_negative_at_once() -> None:
    rule = {"kind": "both_negative", "seconds": 5}
    first = [tone(at, "negative", 0.7, channel=1) for at in (5, 7.5, 10, 12.5)]
    second = [tone(at, "negative", 0.6, channel=2) for at in (10, 12.5, 15)]
    assert times(rule, first) == []
    both = sorted(first + second, key=lambda event: float(event.body["end"]))
    (body,) = alerts(rule, both)
    assert (body["at"], body["since"], body["value"], body["channel"]) == (15, 10, 0.6, None)
    calm = tone(13, "neutral", channel=1)
    assert times(rule, [*first, *second[:2], calm, second[2]]) == []


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["tone", "silent", "spoken", "start", "end", "gap"]),
        st.integers(1, 2),
        st.sampled_from(["positive", "neutral", "negative", None]),
        st.floats(0, 1),
    ),
    max_size=80,
)
RULES = st.builds(
    dict,
    kind=st.sampled_from(["negative", "drop", "silence", "both_negative"]),
    seconds=st.floats(0, 30),
    cool_down=st.floats(1, 60),
)


def call_of(drawn: list[tuple[str, int, str | None, float]]) -> list[CallEvent]:
    """Events whose times go on."""
    events = []
    for at, (what, channel, label, score) in enumerate(drawn, 2):
        end = at * 2.5
        match what:
            case "tone":
                events.append(tone(end, label, score, 1 - score, channel=channel))
            case "silent" | "spoken":
                events.append(window(end, float(what == "spoken"), channel))
            case "start":
                events.append(told("speech.start", channel, start=end))
            case "end":
                events.append(told("speech.end", channel, start=end - 1, end=end))
            case _:
                events.append(told("gap", None, start=end - 1, end=end, reason="network"))
    return events


@settings(max_examples=150, deadline=None)
@given(RULES, EVENTS)
def test_whatever_comes(
    rule: dict[str, Any], drawn: list[tuple[str, int, str | None, float]]
) -> None:
    events = call_of(drawn)
    bodies = alerts(rule, events)
    assert bodies == alerts(rule, events)
    last: dict[int | None, float] = {}
    ends = {event.body.get("end") for event in events}
    for body in bodies:
        channel, at = body["channel"], body["at"]
        assert at in ends
        assert at - body["since"] >= rule["seconds"] - 1e-3
        assert at - last.get(channel, -1e9) >= rule["cool_down"] - 1e-3
        last[channel] = at
    if rule["kind"] in ("negative", "both_negative") and not any(
        e.type == "tone" and e.body["current"]["label"] == "negative" for e in events
    ):
        assert bodies == []


@settings(max_examples=100, deadline=None)
@given(EVENTS, st.floats(0, 30), st.floats(0, 30))
def test_a_longer_condition_never_alerts_earlier(
    drawn: list[tuple[str, int, str | None, float]], one: float, other: float
) -> None:
    events = call_of(drawn)
    for kind in ("negative", "silence", "both_negative"):
        early = times({"kind": kind, "seconds": min(one, other)}, events)
        late = times({"kind": kind, "seconds": max(one, other)}, events)
        assert not late or early[0] <= late[0]


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "angry"},
        {"kind": "silence", "over": 0.5},
        {"kind": "negative", "by": 0.5},
        {"kind": "negative", "seconds": -1},
        {"kind": "negative", "seconds": float("nan")},
        {"kind": "negative", "cool_down": 0},
        {"kind": "negative", "channels": []},
        {"kind": "negative", "secs": 3},
        {},
    ],
)
def test_rules_that_cannot_be(rule: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(AlertSettings).validate_python({"rules": [{"name": "r", **rule}]})


def test_the_page_s_rules_can_be(root: Path) -> None:
    page = (root / "docs" / "alerts.md").read_text("utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    found = TypeAdapter(AlertSettings).validate_python(tomllib.loads(block)["alerts"])
    assert {rule.kind for rule in found.rules} == {"negative", "drop", "silence", "both_negative"}


def test_names_are_their_own() -> None:
    rule = AlertRule(name="r", kind="silence")
    with pytest.raises(UsageError, match="two alert rules are called r"):
        make_watch(AlertSettings(rules=(rule, rule)))
