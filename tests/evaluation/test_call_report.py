"""The report of a call: what it says, what it draws, what it refuses to execute."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.evaluation import calls

from voicetone.evaluation import call_audio, call_words
from voicetone.evaluation.call_report import render, turning_points
from voicetone.types import SENTIMENTS, FileResult, Overall, Window

EVERY = [
    calls.two_party,
    calls.mono,
    calls.unsure,
    calls.silence,
    calls.short,
    calls.three_hours,
    calls.eight,
    calls.hostile,
]


class Page(HTMLParser):
    """Elements and text of a page, read as a browser would."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            (self.scripts if tag == "script" else self.styles).append("")

    def handle_data(self, data: str) -> None:
        inside = self.elements[-1][0] if self.elements else ""
        if inside == "script" and self.cdata_elem:
            self.scripts[-1] += data
        elif inside == "style" and self.cdata_elem:
            self.styles[-1] += data
        else:
            self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]

    def attribute(self, tag: str, key: str, value: str) -> dict[str, str | None]:
        return next(a for a in self.named(tag) if a.get(key) == value)


def page(result: FileResult, **changes: Any) -> Page:
    given = {"spec": calls.SPEC, "peaks": calls.peaks(result)} | changes
    return Page(render(result, **given))


def words(text: str) -> str:
    return " ".join(text.split())


# --- words ---------------------------------------------------------------------------------


def test_turning_points_lie_where_the_mood_changes() -> None:
    customer = calls.two_party().channels[1]
    negative, positive = turning_points(customer, 0.45)
    assert (negative.before, negative.label, positive.label) == ("neutral", "negative", "positive")
    assert negative.time == pytest.approx(58.6, abs=0.2)  # the first word after 0:52
    assert positive.time == pytest.approx(126.6, abs=0.2)
    assert negative.score > 0.7 > 0.4 > negative.was
    assert positive.until is None
    assert re.fullmatch(
        r"At 0:58 the customer's tone turns negative "
        r"\(negative 0\.\d\d on average until 2:0\d, was 0\.\d\d\)",
        str(negative),
    )


@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_turns_nothing(seed: int) -> None:
    talk = calls.channel(seed, 600, lambda t: 0.1, wobble=0.7)
    assert turning_points(talk) == []


def test_a_passing_moment_is_no_turning_point() -> None:
    def mood(t: float) -> float:
        return -1.5 if 20 < t < 22.5 else 1.5

    talk = calls.channel(1, 40, mood, wobble=0)
    assert sum(w.sentiment["negative"] > 0.9 for w in talk.windows if w.sentiment) == 1
    assert turning_points(talk) == []


def test_every_second_of_speech_is_in_one_stretch() -> None:
    customer = calls.two_party().channels[1]
    found = call_words.stretches(customer, 0.45)
    assert sum(s.speech_seconds for s in found) == pytest.approx(
        sum(w.speech_seconds for w in customer.windows)
    )
    assert all(sum(s.sentiment.values()) == pytest.approx(1) for s in found)
    assert [s.start for s in found] == sorted(s.start for s in found)


@pytest.mark.parametrize(
    ("mood", "said"),
    [
        (lambda t: 0.9, "The tone is positive throughout."),
        (
            lambda t: 0.9 if t < 60 else -0.9,
            r"The tone starts positive and turns negative at (0:5\d|1:00)\.",
        ),
        (
            lambda t: 0.9 if 40 < t < 80 else -0.9,
            r"The tone starts negative, turns positive at 0:[34]\d and ends negative, from 1:\d\d.",
        ),
        (
            lambda t: 0.9 if int(t / 30) % 2 else -0.9,
            "The tone starts negative, changes 3 times and ends positive.",
        ),
    ],
)
def test_how_it_went(mood: calls.Mood, said: str) -> None:
    talk = calls.channel(1, 120, mood, wobble=0.1)
    assert re.fullmatch(said, call_words.how_it_went(talk, 0.45, "the tone"))


def test_how_it_went_without_speech_or_certainty() -> None:
    assert call_words.how_it_went(calls.silence().channels[0]) == "No speech was heard."
    unclear = call_words.how_it_went(calls.unsure().channels[0], 0.95)
    assert unclear == (
        "The tone of channel 1 stays unclear: no sentiment is probable enough to be named."
    )
    assert turning_points(calls.unsure().channels[0], 0.95) == []


def test_flags_in_words() -> None:
    assert call_words.cautions(calls.two_party()) == []
    assert "lasts 0.62 s" in call_words.cautions(calls.short())[0]
    assert call_words.cautions(calls.silence()) == [
        "The recording is silent: it holds nothing but zeros."
    ]
    assert "clipped" in call_words.cautions(calls.mono())[0]
    quiet = dataclasses.replace(calls.silence().channels[0], name="customer", flags=())
    call = dataclasses.replace(calls.two_party(), channels=(calls.two_party().channels[0], quiet))
    assert call_words.cautions(call) == ["Customer holds no speech, so it has no tone."]


def test_names_in_sentences() -> None:
    agent = calls.two_party().channels[0]
    assert call_words.tone_of(agent) == "the agent's tone"
    assert call_words.tone_of(dataclasses.replace(agent, name="Ada")) == "Ada's tone"
    assert call_words.tone_of(dataclasses.replace(agent, name=None)) == "the tone of channel 1"


def test_clock() -> None:
    assert [call_words.clock(s) for s in (0, 32.9, 725, 3723)] == [
        "0:00",
        "0:32",
        "12:05",
        "1:02:03",
    ]


# --- the page ------------------------------------------------------------------------------


@pytest.mark.parametrize("make", EVERY)
def test_nothing_in_the_page_is_fetched_or_inline(make: Callable[[], FileResult]) -> None:
    got = page(make())
    for tag, attributes in got.elements:
        assert "style" not in attributes, tag
        assert not [key for key in attributes if key.startswith("on")], tag
        assert not attributes.get("src"), tag
        assert (attributes.get("href") or "#").startswith("#"), tag
        assert tag not in {"link", "iframe", "object", "embed", "base", "form", "img", "a"}
    assert "http:" not in "".join(got.styles + got.scripts)
    assert "https:" not in "".join(got.styles + got.scripts)


@pytest.mark.parametrize("make", EVERY)
def test_every_fragment_that_is_referred_to_exists_once(make: Callable[[], FileResult]) -> None:
    got = page(make())
    ids = [a["id"] for _, a in got.elements if a.get("id")]
    assert len(ids) == len(set(ids))
    for _, attributes in got.elements:
        for value in attributes.values():
            for name in re.findall(r"^#(\w+)$|url\(#(\w+)\)", value or ""):
                assert (name[0] or name[1]) in ids


def test_policy_allows_this_style_and_this_script_only() -> None:
    got = page(calls.two_party())
    policy = got.attribute("meta", "http-equiv", "Content-Security-Policy")["content"] or ""
    allowed = dict(part.split(" ", 1) for part in policy.split("; "))
    assert allowed["default-src"] == "'none'"
    for key, text in (("script-src", got.scripts[-1]), ("style-src", got.styles[0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert allowed[key] == f"'sha256-{digest}'"
    assert len(got.styles) == 1
    assert "media-src" not in allowed
    assert "unsafe" not in policy


def test_hostile_names_stay_text() -> None:
    result = calls.hostile()
    card = {
        "name": calls.HOSTILE,
        "licence": calls.HOSTILE,
        "notice": calls.HOSTILE,
        "metrics": {calls.HOSTILE: calls.HOSTILE},
        "attribution": [calls.HOSTILE],
        "training": [{"corpus": calls.HOSTILE, "note": calls.HOSTILE}],
    }
    got = page(result, spec=card)
    assert got.named("img") == []
    assert len(got.named("script")) == 2
    assert got.text.count(calls.HOSTILE) >= 12
    json.loads(got.scripts[0])


def test_hostile_labels_stay_data() -> None:
    """Labels of a bundle are plain names; the page does not rely on it."""
    pair = ({"positive": 0.1, "neutral": 0.1, "negative": 0.8}, {calls.HOSTILE: 1.0})
    windows = (Window(0, 5, True, 5, *pair),)
    talk = dataclasses.replace(
        calls.short().channels[0], windows=windows, overall=Overall(5, "negative", 0.8, *pair)
    )
    html = render(FileResult("a.wav", 5, "m", (), (talk,)), spec={})
    got = Page(html)
    assert json.loads(got.scripts[0])["lanes"][0]["emotions"] == [calls.HOSTILE]
    assert "<" not in got.scripts[0]
    assert got.named("img") == []


def test_names_that_are_no_text() -> None:
    odd = "caf\udce9\u202egnp.\x00\n.wav"
    html = render(dataclasses.replace(calls.mono(), file=odd), spec={})
    html.encode("utf-8")
    assert "\u202e" not in html
    assert "\x00" not in html


def test_verdicts() -> None:
    assert "Positive" not in words(page(calls.silence()).text)
    assert "no speech" in words(page(calls.silence()).text)
    doubtful = words(page(calls.unsure(), spec={"dont_know": {"sentiment": 0.95}}).text)
    assert "don't know at most 0." in doubtful
    assert "No sentiment reaches the 0.95 that a label needs." in doubtful
    assert re.search(r"positive confidence 0\.\d\d", words(page(calls.two_party()).text))


def test_turning_points_are_numbered_in_the_order_of_the_call() -> None:
    got = page(calls.three_hours())
    buttons = [a for a in got.named("button") if "data-time" in a]
    times = [float(a["data-time"] or "") for a in buttons]
    assert len(times) > 4
    assert times == sorted(times)
    assert "No change of tone is clear enough" in page(calls.short()).text


def test_card_and_law_are_in_the_page() -> None:
    said = words(page(calls.two_party()).text)
    for fact in (
        "tone-small 0.1.0",
        "CC-BY-NC-SA-4.0",
        "812,345",
        "ravdess",
        "0.6213",
        "emodb",
        "RAVDESS, Livingstone",
        "The weights may not be used commercially.",
        "answered in 87% of cases",
        "right in 71%",
    ):
        assert fact in said, fact
    for law in (
        "Art. 5(1)(f)",
        "2 February 2025",
        "Art. 50(3)",
        "2 August 2026",
        "estimates",
        "legal or similarly significant effects",
    ):
        assert law in said, law


def test_a_card_may_be_empty() -> None:
    assert "not named" in page(calls.two_party(), spec={}).text


def test_table_holds_every_window() -> None:
    result = calls.two_party()
    rows = page(result).named("tr")
    assert len(rows) >= sum(len(c.windows) for c in result.channels)


def test_three_hours_stay_light() -> None:
    result = calls.three_hours(8)
    html = render(result, spec=calls.SPEC, peaks=calls.peaks(result))
    assert len(html) < 5e6
    assert len(Page(html).elements) < 60_000
    assert "Each row stands for 11 of the 4307 windows" in html


def test_no_channel_and_no_length() -> None:
    got = page(FileResult("none.wav", 0.0, "m", (), ()), peaks=None)
    assert "No channel was analysed." in got.text


def test_script_data_follows_the_result() -> None:
    result = calls.two_party()
    data = json.loads(page(result).scripts[0])
    assert data["duration"] == 180
    assert data["sentiments"] == list(SENTIMENTS)
    lane = data["lanes"][1]
    assert [c[0] for c in lane["columns"]] == [w.end for w in result.channels[1].windows]
    for column, window in zip(lane["columns"], result.channels[1].windows, strict=True):
        assert (len(column) == 3) == window.speech


# --- the player ----------------------------------------------------------------------------


def sound(path: Path, seconds: float, channels: int, rate: int = 8000) -> Path:
    times = np.arange(int(seconds * rate)) / rate
    wave = 0.3 * np.sin(2 * np.pi * 440 * times)
    soundfile.write(path, np.repeat(wave[:, None], channels, 1), rate)
    return path


@pytest.mark.parametrize(("channels", "heard"), [(1, 1), (2, 2), (5, 1)])
def test_short_recordings_are_in_the_page(tmp_path: Path, channels: int, heard: int) -> None:
    audio = sound(tmp_path / "a.wav", 2.5, channels)
    got = page(calls.mono(), audio=audio)
    source = got.named("audio")[0]["src"] or ""
    kind, data = source.split(",", 1)
    assert kind == "data:audio/mpeg;base64"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data)), always_2d=True)
    assert rate == 16_000
    assert samples.shape[1] == heard
    assert len(samples) / rate == pytest.approx(2.5, abs=0.1)
    assert np.abs(samples).max() == pytest.approx(0.3, abs=0.05)
    policy = got.attribute("meta", "http-equiv", "Content-Security-Policy")["content"] or ""
    assert policy.endswith("media-src data:")
    assert "it contains the recording" in got.text


def test_long_recordings_are_linked(tmp_path: Path) -> None:
    audio = sound(tmp_path / "#1 & a:b?.wav", 1, 1)
    pages = tmp_path / "pages"
    got = page(calls.three_hours(1), audio=audio, folder=pages)
    assert got.named("audio")[0]["src"] == "../%231%20%26%20a%3Ab%3F.wav"
    policy = got.attribute("meta", "http-equiv", "Content-Security-Policy")["content"] or ""
    assert policy.endswith("media-src 'self' file:")


def test_what_cannot_be_played_is_left_out(tmp_path: Path) -> None:
    headerless = tmp_path / "call.ulaw"
    headerless.write_bytes(bytes(8000))
    for audio in (None, tmp_path / "gone.wav", headerless, tmp_path):
        assert call_audio.player(audio, 1, tmp_path) is None
    got = page(calls.mono(), audio=headerless)
    assert got.named("audio") == []
    assert "nothing to play" in got.text
