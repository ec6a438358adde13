"""Enrolled voices: whose they are, how long they last, what is turned down."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from tests.inference.test_enrolment import voice
from tests.server.postgres import Postgres
from tests.server.serving import START
from tests.server.voices_help import CONSENT, HOUR, as_sent, key, made_settings, post, ready, wav
from tests.toy_speaker import make_speaker_bundle

from voicetone.features.speaker_enrol import Enrolment
from voicetone.inference.enrolment import enrol_for
from voicetone.pretrained import load
from voicetone.pretrained.predictor import Predictor
from voicetone.server.app import make_app, make_state
from voicetone.server.native import NativeProtocol
from voicetone.server.refusal import RefusedError
from voicetone.server.store_tables import voices as table
from voicetone.server.store_voices import purge_voices
from voicetone.server.voices import (
    ID,
    VoiceSettings,
    asked_in_words,
    asked_of,
    new_id,
    packed,
    unpacked,
)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


class BentClock:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def wall(self) -> float:
        return time.time() + self.ahead

    def steady(self) -> float:
        return time.monotonic()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/calls.db"
    server: Postgres = request.getfixturevalue("postgres")
    engine = sa.create_engine(server.url)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS voices"))
    engine.dispose()
    return server.url


# -- enrolling -------------------------------------------------------------------------------------


def test_the_life_of_a_voice(url: str, folder: Path, knowing: Predictor) -> None:
    """Enrolled, seen by its owner alone, expired, purged; on both databases."""
    clock = BentClock()
    state = make_state(made_settings(url, folder), knowing, clock=clock)
    with TestClient(make_app(state)) as client:
        ready(state)
        sound = voice(6.0, 1)
        answer = post(client, sound, expires_in=str(HOUR))
        assert answer.status_code == 201
        one = answer.json()
        expected = enrol_for(knowing, [as_sent(sound)])
        assert one["seconds"] == round(expected.seconds, 2)
        assert (one["encoder"], one["consent"], one["warnings"]) == (
            expected.encoder,
            CONSENT,
            list(expected.warnings),
        )
        assert ID.fullmatch(one["id"])
        assert answer.headers["Location"] == f"/v1/voices/{one['id']}"
        where = answer.headers["Location"]
        assert client.get(where, headers=key("desk")).json() == one
        assert client.get("/v1/voices", headers=key("desk")).json() == {"voices": [one]}

        # It is there as computed, and neither the recording's name nor its sound is.
        assert state.store is not None
        with state.store._database.read.connect() as connection:
            (row,) = connection.execute(sa.select(table)).mappings()
        assert np.frombuffer(row["embedding"], "<f4") == pytest.approx(expected.embedding)
        assert row["owner"] == "desk"

        for method in ("get", "delete"):  # nobody else's key learns that it is there
            theirs = getattr(client, method)(where, headers=key("other"))
            assert theirs.status_code == 404
        assert client.get("/v1/voices", headers=key("other")).json() == {"voices": []}
        assert client.get(where, headers=key("caller")).status_code == 403
        assert client.get(where).status_code == 401
        speaker = {"type": "session.start", "sample_rate": 8000, "consent": True}
        with client.websocket_connect("/v1/stream", headers=key("other")) as socket:
            socket.send_json({**speaker, "speaker": {"voice": one["id"]}})
            said = socket.receive_json()
            assert (said["code"], said["fatal"]) == ("not_found", True)

        clock.ahead = HOUR + 1
        assert client.get(where, headers=key("desk")).status_code == 404
        with client.websocket_connect("/v1/stream", headers=key("desk")) as socket:
            socket.send_json({**speaker, "speaker": {"voice": one["id"]}})
            assert socket.receive_json()["code"] == "not_found"
        state.store._keep_house(clock.wall())
        with state.store._database.read.connect() as connection:
            assert not list(connection.execute(sa.select(table)))


@pytest.mark.parametrize("kind", ["frames", "onnx"])
def test_other_kinds_of_voices(kind: str, tmp_path: Path) -> None:
    model = make_speaker_bundle(tmp_path / "model", kind)
    predictor = load(model)
    state = make_state(made_settings(f"sqlite:///{tmp_path}/v.db", model), predictor)
    with TestClient(make_app(state)) as client:
        ready(state)
        sound = voice(6.0, 1)
        one = post(client, sound).json()
        expected = enrol_for(predictor, [as_sent(sound)])
        assert one["encoder"] == expected.encoder
        assert state.store is not None
        with state.store._database.read.connect() as connection:
            kept = connection.scalar(sa.select(table.c.embedding))
        assert np.frombuffer(kept, "<f4") == pytest.approx(expected.embedding, rel=1e-4)
        found = client.post(
            "/v1/analyze",
            files={"audio": ("x.wav", wav(voice(8.0, 2)))},
            data={"speaker": one["id"]},
            headers=key("desk"),
        ).json()["audio"]["channels"][0]["speaker"]
        assert (found["source"], found["from"]) == ("enrolled", 0.0)


def test_deleting_one_and_all_of_a_subject(url: str, folder: Path, knowing: Predictor) -> None:
    state = make_state(made_settings(url, folder), knowing)
    with TestClient(make_app(state)) as client:
        ready(state)
        sound = voice(4.0, 1)
        ids = [
            post(client, sound, name, **fields).json()["id"]
            for name, fields in (
                ("desk", {"subject": "+49 170 0000000"}),
                ("desk", {"subject": "+49 170 0000000"}),
                ("desk", {}),
                ("other", {"subject": "+49 170 0000000"}),
            )
        ]
        assert state.store is not None
        with state.store._database.read.connect() as connection:
            subjects = list(connection.scalars(sa.select(table.c.subject)))
        assert "170" not in "".join(filter(None, subjects))
        assert len({s for s in subjects if s}) == 2  # salted by owner
        who = {"subject": "+49 170 0000000"}
        gone = client.post("/v1/voices/forget", json=who, headers=key("desk"))
        assert gone.json() == {"deleted": 2}
        left = client.get("/v1/voices", headers=key("desk")).json()["voices"]
        assert [one["id"] for one in left] == [ids[2]]
        assert client.delete(f"/v1/voices/{ids[2]}", headers=key("desk")).status_code == 204
        assert client.delete(f"/v1/voices/{ids[2]}", headers=key("desk")).status_code == 404
        assert client.get(f"/v1/voices/{ids[3]}", headers=key("other")).status_code == 200
        assert not purge_voices(state.store._database, time.time())


@pytest.fixture(scope="module")
def desk(
    folder: Path, knowing: Predictor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    few = VoiceSettings(most=2, seconds=20.0)
    words = made_settings(f"sqlite:///{tmp_path_factory.mktemp('db')}/v.db", folder, voices=few)
    state = make_state(words, knowing)
    with TestClient(make_app(state)) as client:
        ready(state)
        yield client


SOUND = voice(3.0, 2)
BAD: dict[str, tuple[Any, dict[str, str], int, str]] = {
    "no consent": (SOUND, {"consent": ""}, 403, "consent_required"),
    "a consent that says nothing": (SOUND, {"consent": "true"}, 403, "consent_required"),
    "a long consent": (SOUND, {"consent": "x" * 201}, 400, "bad_request"),
    "too long kept": (SOUND, {"expires_in": "2592001"}, 400, "bad_request"),
    "no time": (SOUND, {"expires_in": "nan"}, 400, "bad_request"),
    "gone at once": (SOUND, {"expires_in": "0"}, 400, "bad_request"),
    "silence": (np.zeros(48_000), {}, 415, "unsupported_media"),
    "too little": (SOUND[:8000], {}, 415, "unsupported_media"),
    "too long": (voice(21.0, 2), {}, 413, "message_too_large"),
    "two channels": (np.stack([SOUND, SOUND]), {}, 400, "bad_request"),
    "another channel": (np.stack([SOUND, SOUND]), {"channel": "3"}, 400, "bad_request"),
    "no channel": (SOUND, {"channel": "left"}, 400, "bad_request"),
    "no subject": (SOUND, {"subject": "x" * 201}, 400, "bad_request"),
    "another field": (SOUND, {"text": "Maria"}, 400, "bad_request"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_turned_down(desk: TestClient, name: str) -> None:
    sound, fields, status, code = BAD[name]
    answer = post(desk, sound, **fields)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "\n" not in answer.json()["message"]
    assert desk.get("/v1/voices", headers=key("desk")).json() == {"voices": []}


def test_other_bodies(desk: TestClient) -> None:
    ask = {"headers": key("desk"), "params": {"consent": CONSENT}}
    assert desk.post("/v1/voices", json={}, **ask).status_code == 415
    assert desk.post("/v1/voices", content=b"", **ask).status_code == 400
    assert desk.post("/v1/voices", content=b"RIFF none", **ask).status_code == 415
    form = desk.post("/v1/voices", files={"consent": (None, CONSENT)}, headers=key("desk"))
    assert form.status_code == 400
    much = desk.post("/v1/voices/forget", content=b" " * (2 << 20), headers=key("desk"))
    assert much.status_code == 413


def test_a_key_has_so_many_and_a_channel_is_chosen(desk: TestClient) -> None:
    pair = np.stack([np.zeros_like(SOUND), SOUND])
    raw = desk.post(
        "/v1/voices",
        content=wav(pair),
        headers=key("other"),
        params={"consent": CONSENT, "channel": "2"},
    )
    assert raw.status_code == 201
    assert post(desk, SOUND, "other").status_code == 201
    third = post(desk, SOUND, "other")
    assert (third.status_code, third.json()["code"]) == (429, "rate_limited")


def test_a_model_without_speakers(bundle: Path, predictor: Predictor, tmp_path: Path) -> None:
    state = make_state(made_settings(f"sqlite:///{tmp_path}/v.db", bundle), predictor)
    with TestClient(make_app(state)) as client:
        ready(state)
        answer = post(client, SOUND)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
        assert "takes no speaker" in answer.json()["message"]
        with client.websocket_connect("/v1/stream", headers=key("desk")) as socket:
            socket.send_json({**START, "speaker": "auto"})  # what there is of it: nothing
            assert socket.receive_json()["type"] == "session.created"
            socket.send_json({"type": "session.close"})
            end = socket.receive_json()
            assert end["type"] == "session.closed"
            assert "speaker" not in end["channels"][0]
            with pytest.raises(WebSocketDisconnect):
                socket.receive_json()


def test_a_server_without_a_store(folder: Path, knowing: Predictor) -> None:
    state = make_state(made_settings("", folder), knowing)
    with TestClient(make_app(state)) as client:
        assert post(client, SOUND).status_code == 404
        with client.websocket_connect("/v1/stream", headers=key("desk")) as socket:
            socket.send_json({**START, "speaker": {"voice": new_id()}})
            assert socket.receive_json()["code"] == "not_found"


# -- alone -----------------------------------------------------------------------------------------


def test_a_voice_survives_its_way_between_processes() -> None:
    rng = np.random.default_rng(1)
    made = Enrolment(rng.standard_normal(80).astype(np.float32), "x-1", 3.25, warnings=("two",))
    back = unpacked(json.loads(json.dumps(packed(made))))
    assert back.embedding.tobytes() == made.embedding.tobytes()
    assert replace(back, embedding=made.embedding) == made


@pytest.mark.parametrize("said", ["all", 7, True, [], {}, {"1": "auto"}, {"voice": 7}, [new_id()]])
def test_what_says_no_speaker(said: Any) -> None:
    with pytest.raises(ValueError, match="write"):
        asked_of(said)
    with pytest.raises(RefusedError) as error:
        NativeProtocol(3).text(json.dumps({**START, "speaker": said}))
    assert error.value.code == "bad_request"
    assert str(error.value).startswith("speaker: write")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just(new_id()),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["1", "2", "voice", "x"]), inner, max_size=3)
        ),
        max_leaves=6,
    )
)
def test_what_is_said_of_speakers_is_understood_or_refused(said: Any) -> None:
    try:
        asked = asked_of(said)
    except ValueError:
        return
    for channel, word in (asked or {}).items():
        assert channel in (0, 1, 2)
        assert word in ("auto", "none") or ID.fullmatch(word)


@pytest.mark.parametrize("text", ["", "x", "1=", "=auto", "1=auto", "0=vt_", "1=a,1=b", "1=,"])
def test_words_that_say_no_speaker(text: str) -> None:
    with pytest.raises(ValueError, match="write auto"):
        asked_in_words(text)


def test_settings_that_can_not_be() -> None:
    with pytest.raises(ValueError, match="over most_days"):
        VoiceSettings(days=31)
