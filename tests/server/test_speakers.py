"""Calls and recordings whose speaker the model is told of, and that nothing of a voice gets out."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from tests.inference.test_enrolment import voice
from tests.server.serving import Client, serving, windows_of
from tests.server.voices_help import (
    CONSENT,
    HOUR,
    MINE,
    RATE,
    as_sent,
    file,
    key,
    made_settings,
    ready,
    wav,
)
from tests.toy_speaker import ENROL_SECONDS

from voicetone.audio.telephony import s16le_encode
from voicetone.client import (
    ServerError,
    SpeakerKnown,
    Stream,
    analyze,
    enrol,
    forget,
    forget_subject,
    voices,
)
from voicetone.client.http import ask, upload
from voicetone.inference.enrolment import enrol_for
from voicetone.inference.file import analyze as analyze_file
from voicetone.pretrained.predictor import Predictor
from voicetone.server.state import ServerState
from voicetone.server.store_tables import voices as table
from voicetone.server.voices import (
    new_id,
)


@pytest.fixture(scope="module")
def running(
    folder: Path, knowing: Predictor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ServerState, int]]:
    words = made_settings(f"sqlite:///{tmp_path_factory.mktemp('db')}/calls.db", folder)
    with serving(knowing, words) as (state, port):
        ready(state)
        yield state, port


def told(client: Client) -> list[dict[str, Any]]:
    return [event for event in client.events if event["type"] == "session.speaker"]


def called(port: int, data: bytes, **words: Any) -> Client:
    first = {"type": "session.start", "sample_rate": RATE, "consent": True, **words}
    client = Client(port, first, additional_headers=key("desk"))
    if client.first["type"] == "session.created":
        client.audio(data, 3200)
        client.finish()
    return client


def of_file(predictor: Predictor, path: Path, speakers: Any) -> list[tuple[Any, ...]]:
    (channel,) = analyze_file(path, predictor, speakers=speakers).channels
    return windows_of([{"type": "window", **w.to_dict()} for w in channel.windows])


def test_live_is_file_with_each_way_of_knowing(
    running: tuple[ServerState, int], knowing: Predictor, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{running[1]}"
    mine = enrol(url, file(tmp_path, voice(6.0, 3)), consent=CONSENT, expires_in=HOUR, key=MINE)
    made = enrol_for(knowing, [as_sent(voice(6.0, 3))])
    call = voice(12.0, 1)
    path = tmp_path / "call.wav"
    path.write_bytes(wav(call))
    found = {}
    for name, said, words, speakers in (
        ("enrolled", {"voice": mine.id}, mine.id, made),
        ("by channel", {"1": {"voice": mine.id}}, f"1={mine.id}", made),
        ("auto", "auto", "auto", "auto"),
        ("usual", None, None, "auto"),
        ("none", "none", "none", None),
    ):
        client = called(running[1], s16le_encode(call), **({"speaker": said} if said else {}))
        expected = of_file(knowing, path, speakers)
        live = windows_of(client.events)
        assert [w[:2] for w in live] == [w[:2] for w in expected]
        assert np.array(live) == pytest.approx(np.array(expected), abs=1.01e-3)
        sent = analyze(url, path, consent=True, speaker=words, key=MINE)
        assert sent.audio is not None
        (channel,) = sent.audio.channels
        over_http = windows_of([{"type": "window", **w.to_dict()} for w in channel.windows])
        assert over_http == expected
        found[name] = live
        closed = client.events[-1]["channels"][0]["speaker"]
        assert channel.speaker is not None
        assert closed == channel.speaker.to_dict()
        if name in ("enrolled", "by channel"):
            (event,) = told(client)
            assert (event["source"], event["from"], event["channel"]) == ("enrolled", 0.0, 1)
            assert event["seconds"] == pytest.approx(made.seconds, abs=1e-3)
        elif name == "none":
            assert not told(client)
            assert closed["source"] == "unknown"
        else:
            (event,) = told(client)
            assert event["source"] == "auto"
            assert 0 < event["seconds"] <= ENROL_SECONDS
            assert event["from"] == closed["from"] > 0
    assert found["enrolled"] != found["auto"] != found["none"]
    forget(url, mine.id, key=MINE)
    assert mine not in voices(url, key=MINE)


def test_the_client_says_whose_voice(running: tuple[ServerState, int], tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{running[1]}"
    mine = enrol(url, file(tmp_path, voice(5.0, 3)), consent=CONSENT, key=MINE)
    with Stream.open(
        url,
        sample_rate=RATE,
        consent=True,
        channels=2,
        channel_names=["agent", "customer"],
        speaker={2: mine.id},
        key=MINE,
    ) as stream:
        stream.send(np.stack([voice(6.0, 1), voice(6.0, 2)]))
        closed = stream.close()
    (event,) = [e for e in stream if isinstance(e, SpeakerKnown)]
    assert (event.channel, event.speaker.source, event.speaker.since) == (2, "enrolled", 0.0)
    assert closed.channels[0].speaker == event.speaker
    for wrong in ({1: mine.id}, new_id()):  # not analysed; not there
        with pytest.raises(ServerError) as error:
            Stream.open(
                url,
                sample_rate=RATE,
                consent=True,
                channels=2,
                channel_names=["agent", "customer"],
                speaker=wrong,
                key=MINE,
            )
        assert error.value.code == ("bad_request" if isinstance(wrong, dict) else "not_found")


def test_what_a_call_can_not_be_told(
    running: tuple[ServerState, int], knowing: Predictor, tmp_path: Path
) -> None:
    state, port = running
    url = f"http://127.0.0.1:{port}"
    mine = enrol(url, file(tmp_path, voice(5.0, 3)), consent=CONSENT, key=MINE)
    both = {"channels": 2, "channel_names": ["customer", "caller"]}
    for words, code in (
        ({"speaker": {"voice": mine.id}, **both}, "bad_request"),  # whose?
        ({"speaker": {"2": {"voice": mine.id}}}, "bad_request"),
        ({"speaker": {"voice": "vt_x"}}, "bad_request"),
        ({"speaker": {"voice": new_id()}}, "not_found"),
    ):
        client = called(port, b"", **words)
        assert (client.first["code"], client.first["fatal"]) == (code, True), words
    assert state.store is not None
    with state.store._database.write.begin() as connection:  # as by an earlier model
        connection.execute(sa.update(table).values(encoder="another-1"))
    client = called(port, b"", speaker={"voice": mine.id})
    assert client.first["code"] == "conflict"
    assert "another-1" in client.first["message"]
    with pytest.raises(ServerError) as error:
        analyze(url, file(tmp_path, voice(3.0, 2)), consent=True, speaker=mine.id, key=MINE)
    assert (error.value.code, error.value.status) == ("conflict", 409)
    for wrong, code in (("1=x", "bad_request"), (new_id(), "not_found")):
        with pytest.raises(ServerError) as error:
            analyze(url, file(tmp_path, voice(3.0, 2)), consent=True, speaker=wrong, key=MINE)
        assert error.value.code == code
    forget(url, mine.id, key=MINE)


def test_a_resumed_call_knows_its_speaker(running: tuple[ServerState, int], tmp_path: Path) -> None:
    state, port = running
    url = f"http://127.0.0.1:{port}"
    mine = enrol(url, file(tmp_path, voice(5.0, 3)), consent=CONSENT, key=MINE)
    data = s16le_encode(voice(10.0, 1))
    whole = called(port, data, speaker={"voice": mine.id})
    first = {"type": "session.start", "sample_rate": RATE, "consent": True}
    asked = {**first, "speaker": {"voice": mine.id}}
    cut = Client(port, asked, additional_headers=key("desk"))
    cut.audio(data[: len(data) // 2], 3200)
    cut.until("window")
    cut.cut()
    resume = {"type": "session.resume", "token": cut.first["token"]}
    again = Client(
        port, {**resume, "last_seq": cut.events[-1]["seq"]}, additional_headers=key("desk")
    )
    at = again.first["received_samples"] * 2
    again.audio(data[at:], 3200)
    again.finish()
    assert windows_of(cut.events + again.events) == windows_of(whole.events)

    # Its worker dies: the next one looks the voice up again, or nobody's is known.
    for there in (True, False):
        client = Client(port, asked, additional_headers=key("desk"))
        token = client.first["token"]
        client.cut()
        state.hub.calls.pop(client.first["call"])
        boot, state.boot = state.boot, state.boot + "x"
        if not there:
            forget(url, mine.id, key=MINE)
        back = Client(
            port,
            {"type": "session.resume", "token": token, "last_seq": 2, "position": 0.0},
            additional_headers=key("desk"),
        )
        back.audio(data, 3200)
        back.finish()
        assert [e["source"] for e in told(back)] == (["enrolled"] if there else [])
        problems = [e["code"] for e in back.events if e["type"] == "error"]
        assert problems == ([] if there else ["not_found"])
        assert back.events[-1]["channels"][0]["speaker"]["source"] == (
            "enrolled" if there else "unknown"
        )
        state.boot = boot


def test_nothing_of_a_voice_gets_out(folder: Path, knowing: Predictor, tmp_path: Path) -> None:
    """Neither the embedding, in any spelling, nor the voice's id, the person or the file."""
    out = io.StringIO()
    words = made_settings(f"sqlite:///{tmp_path}/v.db", folder)
    with serving(knowing, words) as (state, port):
        ready(state)
        state.log._out = out
        url = f"http://127.0.0.1:{port}"
        sound = voice(6.0, 3)
        mine = enrol(url, file(tmp_path, sound), consent=CONSENT, subject="maria", key=MINE)
        client = called(port, s16le_encode(voice(6.0, 1)), speaker={"voice": mine.id})
        missing = called(port, b"", speaker={"voice": new_id()})
        answer = json.dumps([{**e, "token": ""} for e in client.events + missing.events])
        analyze(url, file(tmp_path, sound), consent=True, speaker=mine.id, key=MINE)
        listed = str(voices(url, key=MINE))
        assert state.store is not None
        with state.store._database.read.connect() as connection:
            embedding = connection.scalar(sa.select(table.c.embedding))
            stored = [tuple(row) for row in connection.execute(sa.text("SELECT * FROM events"))]
            calls = [tuple(row) for row in connection.execute(sa.text("SELECT * FROM calls"))]
        asked = {"consent": "true", "async": "true", "speaker": mine.id}
        id = upload(url, "/v1/analyze", file(tmp_path, sound), asked, MINE)["id"]
        while ask(url, "GET", f"/v1/jobs/{id}", MINE)["state"] not in ("done", "failed"):
            time.sleep(0.05)
        (job,) = [j for j in state.extras["files"]._jobs.values() if j.id == id]
        assert job.state == "done"
        assert not job.wanted.voices  # its result is kept for longer
        assert forget_subject(url, "maria", key=MINE) == 1
    assert embedding
    values = [repr(float(v)) for v in np.frombuffer(embedding, "<f4")]
    shown = [answer, out.getvalue(), str(stored), str(calls)]
    for text in (*shown, listed):
        assert base64.b64encode(embedding).decode()[:40] not in text
        assert not [v for v in values if len(v) > 8 and v[:9] in text]
        assert "maria" not in text
    for text in shown:
        assert mine.id not in text
        assert CONSENT not in text
    assert "voice.enrolled" in out.getvalue()
    for path in tmp_path.glob("v.db*"):  # deleted: overwritten, too
        assert path.is_dir() or embedding not in path.read_bytes()
