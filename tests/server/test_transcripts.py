"""Words that come with a call: read beside the tone, kept nowhere."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
from tests.inference.test_enrolment import voice
from tests.server.serving import (
    RATE,
    START,
    Client,
    quiet_settings,
    serving,
    speech,
    windows_of,
    windows_of_file,
)
from tests.toy_words import make_words_bundle

from voicetone.audio.telephony import s16le_decode, s16le_encode
from voicetone.client import Stream, TextRead
from voicetone.errors import MissingExtraError
from voicetone.inference.file import analyze
from voicetone.language.vader import VaderLabeller
from voicetone.pretrained import load
from voicetone.pretrained.predictor import Predictor
from voicetone.server.hub import Limits
from voicetone.server.native import MOST_WORDS, NativeProtocol, Transcript
from voicetone.server.refusal import RefusedError
from voicetone.server.state import ServerState
from voicetone.server.store import StoreSettings
from voicetone.server.words import Reader
from voicetone.types import Said

GOOD, BAD = "Wonderful, thank you so much!", "This is terrible, I hate it."
BOTH = {"channels": 2, "channel_names": ["agent", "customer"]}


@pytest.fixture(scope="module")
def running(predictor: Predictor) -> Iterator[tuple[ServerState, int]]:
    with serving(predictor, quiet_settings()) as server:
        yield server


def words(text: str, start: float, end: float, **more: Any) -> dict[str, Any]:
    return {"type": "transcript", "start": start, "end": end, "text": text, **more}


def error(client: Client) -> tuple[str, bool]:
    said = client.until("error")
    return said["code"], said["fatal"]


def texts(client: Client) -> list[dict[str, Any]]:
    return [event for event in client.events if event["type"] == "text"]


def test_words_read_as_a_text_alone_does(running: tuple[ServerState, int]) -> None:
    client = Client(running[1], START)
    client.audio(speech(4.0))
    client.send(words(GOOD, 0.5, 1.5))
    client.send(words(BAD, 1.5, 3.25, language="en-GB"))
    client.finish()
    first, second = texts(client)
    assert (first["start"], first["end"], first["channel"]) == (0.5, 1.5, 1)
    assert (second["start"], second["end"]) == (1.5, 3.25)
    assert [first["label"], second["label"]] == ["positive", "negative"]
    for said, text in ((first, GOOD), (second, BAD)):
        (opinion,) = VaderLabeller().label([text], "en")
        assert opinion.scores is not None
        assert said["sentiment"] == {k: round(v, 4) for k, v in opinion.scores.items()}
        assert said["source"] == VaderLabeller().source
        assert said["problem"] is None
    assert client.events.index(second) < len(client.events) - 1  # before session.closed


def test_the_tone_is_what_it_is_without_words(
    running: tuple[ServerState, int], predictor: Predictor
) -> None:
    data = speech(8.0)
    client = Client(running[1], START)
    for at in range(0, len(data), 8000):
        client.send(data[at : at + 8000])
        end = (at + min(8000, len(data) - at)) / 2 / RATE
        client.send(words(BAD, end - 0.4, end))
    client.finish()
    assert len(texts(client)) == 16
    assert windows_of(client.events) == windows_of_file(predictor, data)


def test_a_model_that_reads_words_knows_them_as_of_a_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of whatever route and pieces, the same words at the same times give the same windows."""
    reading = load(make_words_bundle(tmp_path / "bundle"))
    data = s16le_encode(voice(14.3, 1, RATE))
    said = [Said(0.5, 1.9, GOOD), Said(4.1, 6.6, BAD), Said(11.0, 13.2, "you are fine")]
    soundfile.write(tmp_path / "a.wav", s16le_decode(data), RATE, subtype="FLOAT")
    file = analyze(tmp_path / "a.wav", reading, transcripts=said).channels[0]
    settings = replace(quiet_settings(), store=StoreSettings(url=f"sqlite:///{tmp_path / 'a.db'}"))
    with serving(reading, settings) as (_, port):
        client = Client(port, START)
        at = 0
        for one in said:
            end = round(one.end * RATE) * 2
            client.audio(data[at:end])
            client.send(words(one.text, one.start, one.end))
            at = end
        client.audio(data[at:])
        closed = client.finish()
    wanted = [w.to_dict() for w in file.windows]
    assert windows_of(client.events) == windows_of([{**w, "type": "window"} for w in wanted])
    assert windows_of(client.events) != windows_of_file(reading, data)
    assert closed["channels"][0]["windows_with_words"] == file.windows_with_words == 4
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("a.db*"))
    for word in ("terrible", "hate", "Wonderful"):
        assert all(word not in json.dumps(event) for event in client.events)
        assert word not in caplog.text
        assert word.encode() not in kept


def test_what_is_turned_down_and_the_call_goes_on(running: tuple[ServerState, int]) -> None:
    client = Client(running[1], START)
    client.audio(speech(6.0))
    client.send(words("x" * (MOST_WORDS + 1), 0, 1))
    assert error(client) == ("message_too_large", False)
    client.send(words(GOOD, 2, 1))
    assert error(client) == ("bad_request", False)
    client.send(words(GOOD, 0, 1, channel=2))
    assert error(client) == ("bad_request", False)
    client.send(words(GOOD, 30, 31))
    assert error(client) == ("bad_request", False)
    client.send(words(GOOD, 0, 1, language="de"))
    assert error(client) == ("unsupported_media", False)
    client.send(words(GOOD, 2, 3))
    client.send(words(BAD, 2, 3))
    assert error(client) == ("conflict", False)
    client.send(words(BAD, 1, 4))
    assert error(client) == ("conflict", False)
    client.send(words(BAD, 2.75, 4))  # recognisers round: half a second is no overlap
    client.finish()
    assert [(t["start"], t["end"]) for t in texts(client)] == [(2, 3), (2.75, 4)]
    assert all(GOOD not in json.dumps(event) for event in client.events)


def test_words_without_any_have_no_answer(running: tuple[ServerState, int]) -> None:
    client = Client(running[1], START)
    client.audio(speech(1.0))
    client.send(words(" …", 0, 1))
    client.finish()
    (said,) = texts(client)
    assert said["label"] is None
    assert said["sentiment"] is None
    assert said["problem"]


def test_what_is_left_alone(running: tuple[ServerState, int]) -> None:
    client = Client(running[1], {**START, **BOTH})
    client.audio(bytes(2 * 2 * RATE * 2))
    client.send(words(BAD, 0, 1, channel=1))  # the agent's: not analysed
    client.send(words(BAD, 0, 1, channel=2, final=False))
    client.send(words(GOOD, 0, 2, channel=2))
    client.finish()
    (said,) = texts(client)
    assert (said["channel"], said["label"]) == (2, "positive")
    assert not [event for event in client.events if event["type"] == "error"]


def test_too_many_wait(predictor: Predictor) -> None:
    limits = Limits(transcripts=2)
    with serving(predictor, quiet_settings(limits=limits)) as (_, port):
        client = Client(port, START)
        client.audio(speech(4.0))
        for at in range(3):
            client.send(words(GOOD, at, at + 1))
        said = client.until("error")
        assert said["code"] == "rate_limited"
        assert said["retry_after"] > 0
        client.finish()
        assert len(texts(client)) == 2


def test_words_are_nowhere(predictor: Predictor, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/calls.db"
    out = io.StringIO()
    with serving(predictor, quiet_settings(store=StoreSettings(url=url))) as (state, port):
        state.log._out = out
        client = Client(port, START)
        client.audio(speech(3.0))
        client.send(words("A wonderful cormorant.", 0, 1))
        client.send(words("A wonderful cormorant.", 0, 1))  # turned down: nor in a message
        client.send(words("cormorant" * 1000, 1, 2))
        client.finish()
    assert "cormorant" not in json.dumps(client.events)
    assert "cormorant" not in out.getvalue()
    with sqlite3.connect(tmp_path / "calls.db") as database:
        stored = [json.loads(row[0]) for row in database.execute("SELECT body FROM events")]
    assert [body["label"] for body in stored if "source" in body] == ["positive"]
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"cormorant" not in path.read_bytes()


def test_a_server_that_reads_no_texts_says_so(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(self: Reader, text: str) -> Any:
        raise MissingExtraError("sentiment by VADER", "label")

    monkeypatch.setattr(Reader, "_read", missing)
    with serving(predictor, quiet_settings()) as (_, port):
        client = Client(port, START)
        client.audio(speech(1.0))
        client.send(words(GOOD, 0, 1))
        assert error(client) == ("unsupported_media", False)
        client.finish()


def test_they_come_after_the_start() -> None:
    with pytest.raises(RefusedError) as early:
        NativeProtocol(3).text(json.dumps(words(GOOD, 0, 1)))
    assert early.value.code == "conflict"


def test_nothing_of_them_shows_in_a_log_of_objects() -> None:
    assert GOOD not in repr(Transcript(type="transcript", start=0, end=1, text=GOOD))


def test_the_client_sends_them_after_their_audio(running: tuple[ServerState, int]) -> None:
    data = speech(6.0)
    url = f"http://127.0.0.1:{running[1]}"
    with Stream.open(url, sample_rate=RATE, consent=True) as stream:
        stream.send_transcript(GOOD, 0.5, 2.0)  # before the audio: it waits for that
        stream.send_transcript(BAD, 2.0, 5.0)
        stream.send(s16le_decode(data))
        stream.close()
        read = [event for event in stream if isinstance(event, TextRead)]
    assert [(t.start, t.end, t.label) for t in read] == [
        (0.5, 2.0, "positive"),
        (2.0, 5.0, "negative"),
    ]
