"""Genesys AudioHook: the state machine, its bookkeeping, signatures, and anything at all."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server.phones import (
    AudioHookClient,
    FakeClock,
    assert_same,
    bodies,
    coded,
    file_windows,
    heard,
    interleaved,
    over,
    voice,
    windows,
    with_hub,
)

from voicetone.pretrained.predictor import Predictor
from voicetone.server.audiohook import NULL, AudioHookSession, AudioHookSettings, State
from voicetone.server.engine import Engine
from voicetone.server.events import CallEvent
from voicetone.server.hub import Hub, Limits
from voicetone.server.refusal import RefusedError
from voicetone.server.telephony import Action, Alive, Audio, End, Lost, Open, Send, Update
from voicetone.server.telephony_call import Runner

AGREED = AudioHookSettings(consent=True)


def sent(actions: list[Action]) -> list[dict[str, Any]]:
    """Messages among actions."""
    return [json.loads(a.text) for a in actions if isinstance(a, Send)]


def open_session(
    session: AudioHookSession | None = None, **parameters: Any
) -> tuple[AudioHookSession, AudioHookClient]:
    """One that is active."""
    session, client = session or AudioHookSession(AGREED), AudioHookClient()
    (begin,) = session.text(client.open(**parameters))
    assert isinstance(begin, Open)
    client.saw(sent(session.opened()))
    return session, client


class Replay:
    """A session through a hub."""

    def __init__(self, hub: Hub, settings: AudioHookSettings = AGREED) -> None:
        self.session, self.client = AudioHookSession(settings), AudioHookClient()
        self.runner = Runner(hub)
        self.said: list[dict[str, Any]] = []

    async def do(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                message = json.loads(action.text)
                self.client.saw([message])
                self.said.append(message)
            else:
                await self.runner.do([action])
            if isinstance(action, Open):
                await self.do(self.session.opened())

    async def text(self, kind: str, **parameters: Any) -> None:
        await self.do(self.session.text(self.client.message(kind, parameters)))

    async def audio(self, data: bytes, step: int = 1600) -> None:
        for at in range(0, len(data), step):
            self.client.position += len(data[at : at + step]) / 2 / 8000
            await self.do(self.session.binary(data[at : at + step]))

    async def opened(self, **parameters: Any) -> None:
        await self.do(self.session.text(self.client.open(**parameters)))

    async def over(self) -> list[CallEvent]:
        return await over(self.runner.call)


def test_a_session_gives_the_windows_of_the_same_file(predictor: Predictor) -> None:
    external, internal = coded(voice(9.1)), coded(voice(9.1, 8))

    async def work(hub: Hub) -> None:
        replay = Replay(hub)
        await replay.opened(customConfig={"queue": "billing", "site": "Graz"})
        data = interleaved(external, internal)
        await replay.audio(data[: 8000 * 2])
        await replay.text("ping")
        await replay.text("update", language="de-DE")
        await replay.audio(data[8000 * 2 :])
        await replay.text("close", reason="end")
        events = await replay.over()
        await replay.do(replay.session.closed())
        assert [m["type"] for m in replay.said] == ["opened", "pong", "updated", "closed"]
        assert [m["seq"] for m in replay.said] == [1, 2, 3, 4]
        assert [m["clientseq"] for m in replay.said] == [1, 2, 3, 4]
        want = file_windows(predictor, heard([external, internal]), ("customer", "agent"))
        assert_same(windows(events), want)
        created = events[0].body
        assert created["external"] == "090eaa2f-72fa-480a-83e0-8667ff89c0ec"
        assert (created["queue"], created["names"]) == ("billing", ["customer", "agent"])
        assert bodies(events, "session.updated") == [(None, {"language": "de-DE"})]
        assert events[-1].body["reason"] == "closed"
        assert bodies(events, "gap") == []

    with_hub(predictor, work)


def test_discarded_paused_and_lost_audio_keeps_times_true(predictor: Predictor) -> None:
    async def work(hub: Hub) -> None:
        replay = Replay(hub)
        await replay.opened()
        data = interleaved(coded(voice(12.0)), coded(voice(12.0, 8)))
        second = 16_000
        await replay.audio(data[: 3 * second])
        replay.client.position = 5.0
        await replay.text("discarded", start="PT3.0S", discarded="PT2S")
        await replay.audio(data[5 * second : 6 * second])
        await replay.text("paused")
        await replay.do(replay.session.binary(data[:320]))  # in a pause: left out
        await replay.text("ping")
        replay.client.position = 18.0
        await replay.text("resumed", start="PT6.0S", discarded="PT12S")
        await replay.audio(data[: 1 * second])
        replay.client.position = 19.5  # half a second never came
        await replay.text("ping")
        await replay.text("close", reason="end")
        events = await replay.over()
        gaps = [body for _, body in bodies(events, "gap")]
        assert gaps == [
            {"start": 3.0, "end": 5.0, "reason": "discarded"},
            {"start": 6.0, "end": 18.0, "reason": "paused"},
            {"start": 19.0, "end": 19.5, "reason": "lost"},
        ]
        assert events[-1].body["duration"] == 19.5
        assert [b["end"] for _, b in bodies(events, "window")][-1] == 19.5

    with_hub(predictor, work)


def test_a_long_pause_fills_no_memory(predictor: Predictor) -> None:
    async def work(hub: Hub) -> None:
        replay = Replay(hub)
        await replay.opened()
        await replay.audio(interleaved(coded(voice(1.0)), coded(voice(1.0))))
        await replay.text("paused")
        replay.client.position = 601.0
        await replay.text("resumed", start="PT1S", discarded="PT600S")
        assert replay.runner.call is not None
        assert replay.runner.call.session.waiting <= 15.0
        await replay.text("close", reason="end")
        events = await replay.over()
        assert bodies(events, "gap") == [(None, {"start": 1.0, "end": 601.0, "reason": "paused"})]
        assert events[-1].body["duration"] == 601.0

    with_hub(predictor, work)


def test_a_paused_call_is_no_idle_one_while_it_is_pinged(predictor: Predictor) -> None:
    clock = FakeClock()

    async def run() -> None:
        hub = Hub(Engine(predictor, clock), Limits(idle=60), clock)
        hub.start()
        replay = Replay(hub)
        await replay.opened()
        await replay.text("paused")
        for _ in range(10):
            clock.now += 30.0
            await replay.text("ping")
            hub.sweep()
        assert replay.runner.running
        clock.now += 61.0
        clock.day -= 3600.0  # somebody sets the wall clock
        hub.sweep()
        assert (await replay.over())[-1].body["reason"] == "idle_timeout"
        await hub.stop()

    asyncio.run(run())


def test_a_probe_makes_no_call() -> None:
    session, client = AudioHookSession(AudioHookSettings()), AudioHookClient()
    (opened,) = sent(session.text(client.open(conversationId=NULL)))
    assert opened["type"] == "opened"
    assert session.probe
    assert session.binary(b"\xff" * 320) == []
    client.saw([opened])
    client.position = 100.0
    assert sent(session.text(client.message("ping", {})))[0]["type"] == "pong"
    assert session.text(client.message("close", {"reason": "end"})) == [End("closed")]
    assert sent(session.closed())[0]["type"] == "closed"


@pytest.mark.parametrize(
    ("offers", "chosen"),
    [
        ([("L16", ["external", "internal"]), ("PCMU", ["external", "internal"])], 1),
        ([("PCMU", ["external"]), ("L16", ["external", "internal"])], 1),
        ([("PCMU", ["internal"]), ("L16", ["external"])], 1),
        ([("PCMU", ["internal", "external"]), ("PCMU", ["external"])], 0),
        ([("OPUS", ["external"]), ("PCMU", ["external", "external"]), ("PCMU", [])], None),
        ([], None),
    ],
)
def test_the_best_media_is_chosen(offers: list[tuple[str, list[str]]], chosen: int | None) -> None:
    media = [{"type": "audio", "format": f, "channels": c, "rate": 8000} for f, c in offers]
    session, client = AudioHookSession(AGREED), AudioHookClient()
    actions = session.text(client.open(media=media))
    if chosen is None:
        (left,) = sent(actions)
        assert left["type"] == "disconnect"
        assert left["parameters"]["info"].startswith("415 unsupported_media")
        return
    (begin,) = actions
    assert isinstance(begin, Open)
    assert sent(session.opened())[0]["parameters"]["media"] == [media[chosen]]
    named = {"external": "customer", "internal": "agent"}
    assert begin.start.names == tuple(named[c] for c in media[chosen]["channels"])


def wrong(**changes: Any) -> str:
    client = AudioHookClient()
    return json.dumps({**json.loads(client.open()), **changes})


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("", 400),
        ("[]", 400),
        ("{", 400),
        ("x" * 70_000, 413),
        (wrong(version="1"), 400),
        (wrong(seq=2), 409),
        (wrong(seq="one"), 400),
        (wrong(serverseq=1), 409),
        (wrong(id=7), 400),
        (wrong(position="PT-1S"), 400),
        (wrong(position="P1D"), 400),
        (wrong(parameters=None), 400),
        (wrong(type="ping"), 409),
        (AudioHookClient().open(conversationId="7"), 400),
        (AudioHookClient().open(participant=None), 400),
        (AudioHookClient().open(media={}), 400),
        (AudioHookClient().open(media=[{}] * 40), 400),
        (AudioHookClient(session="0b2eb0ee-48cb-4bd1-8e6a-9b0bfd1f3d1a").open(), 409),
    ],
)
def test_what_cannot_be_makes_the_server_disconnect(message: str, code: int) -> None:
    session = AudioHookSession(AGREED, session=AudioHookClient().session)
    *_, left, end = session.text(message)
    assert isinstance(end, End)
    assert isinstance(left, Send)
    said = json.loads(left.text)
    assert said["type"] == "disconnect"
    assert said["parameters"]["reason"] == "error"
    assert said["parameters"]["info"].startswith(str(code))
    assert session.state is State.LEAVING
    assert session.text(message) == session.binary(b"\0") == []


def test_another_organization_than_in_the_header() -> None:
    session = AudioHookSession(AGREED, organization="somebody else")
    (left,) = sent(session.text(AudioHookClient().open()))
    assert left["parameters"]["reason"] == "unauthorized"


def test_the_wrong_order_of_messages() -> None:
    early = AudioHookSession(AGREED)
    assert sent(early.binary(b"\xff" * 320))[0]["type"] == "disconnect"
    session, client = open_session()
    assert session.binary(b"\xff" * 320) == [Audio(b"\xff" * 320)]
    client.position = 0.02
    assert session.text(client.message("something.new", {})) == []
    assert session.text(client.message("update", {"language": ["x"]}))[0] == Update(
        {"language": "['x']"}
    )
    again = session.text(client.open())
    assert sent(again)[0]["parameters"]["info"].startswith("409")
    assert session.text(client.message("close", {"reason": "disconnect"})) == [End("closed")]
    assert sent(session.closed())[0]["type"] == "closed"
    assert session.text("garbage") == session.binary(b"x") == session.gone() == []


def test_updates_without_end_are_answered_and_not_all_told(predictor: Predictor) -> None:
    async def work(hub: Hub) -> None:
        replay = Replay(hub)
        await replay.opened()
        for _ in range(Limits().updates + 20):
            await replay.text("update", language="de-DE")
        await replay.text("close", reason="end")
        assert len(bodies(await replay.over(), "session.updated")) == Limits().updates
        kinds = [m["type"] for m in replay.said]
        assert kinds.count("updated") == Limits().updates + 20

    with_hub(predictor, work)


def test_a_missing_and_a_doubled_message() -> None:
    for skip in (1, -1):
        session, client = open_session()
        client.seq += skip
        (left,) = sent(session.text(client.message("ping", {})))
        assert left["parameters"]["info"].startswith("409 conflict")


@pytest.mark.parametrize("size", [1, 0, (1 << 20) + 2])
def test_audio_that_cannot_be(size: int) -> None:
    session, _ = open_session()
    assert sent(session.binary(b"\xff" * size))[0]["type"] == "disconnect"


def test_more_is_missing_than_can_be() -> None:
    session, client = open_session()
    far = {"start": "PT0S", "discarded": "PT999999999S"}
    (left,) = sent(session.text(client.message("discarded", far)))
    assert left["parameters"]["info"].startswith("400")
    session, client = open_session()
    client.position = 999_999.0
    last = session.text(client.message("close", {"reason": "end"}))
    assert last == [Lost(4 * 3600.0, "lost"), End("closed")]


def test_the_server_ends_a_call_and_the_client_closes() -> None:
    session, client = open_session()
    left = session.leave("draining")
    assert sent(left)[0]["parameters"] == {"reason": "completed", "info": "draining"}
    client.saw(sent(left))
    assert session.leave("again") == []
    assert session.text(client.message("ping", {})) == []
    assert session.text(client.message("close", {"reason": "disconnect"})) == [End("closed")]


def test_a_busy_server_says_when_to_try_again() -> None:
    session = AudioHookSession(AGREED)
    session.text(AudioHookClient().open())
    left = sent(session.refuse(RefusedError("too_many_calls", "all lines are busy", 10.0)))
    assert left[0]["parameters"]["info"].startswith("429 too_many_calls")
    assert "retryAfter PT10S" in left[0]["parameters"]["info"]


def test_events_are_sent_back_if_the_operator_wants_them() -> None:
    event = CallEvent("c", 3, 1.7e9, "tone", 1, {"end": 5.0})
    session, client = open_session()
    assert session.event(event) == []
    wanting = AudioHookSettings(consent=True, events=("tone",))
    session, client = open_session(AudioHookSession(wanting))
    (said,) = sent(session.event(event))
    assert said["type"] == "event"
    (entity,) = said["parameters"]["entities"]
    assert entity == {"type": "voicetone.tone", "data": event.to_dict()}
    client.saw([said])
    session.text(client.message("error", {"code": 429, "message": "slower"}))
    assert session.event(event) == []


def test_consent_staff_and_who_is_analysed(predictor: Predictor) -> None:
    async def work(hub: Hub) -> None:
        async def code(settings: AudioHookSettings, **parameters: Any) -> str | None:
            replay = Replay(hub, settings)
            try:
                await replay.opened(**parameters)
            except RefusedError as error:
                return error.code
            return None

        inside = [{"type": "audio", "format": "PCMU", "channels": ["internal"], "rate": 8000}]
        assert await code(AudioHookSettings()) == "consent_required"
        assert await code(AudioHookSettings(), customConfig={"consent": True}) is None
        assert await code(AGREED, media=inside) == "forbidden"
        staff = AudioHookSettings(consent=True, analyse=("internal",))
        assert await code(staff) == "forbidden"

    with_hub(predictor, work)


DEEP = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)
KINDS = ("open", "close", "discarded", "error", "paused", "ping", "resumed", "update", "x")
DURATIONS = st.sampled_from(["PT0S", "PT1.5S", "PT999999999S", "PT", ""]) | DEEP
PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "start": DURATIONS,
        "discarded": DURATIONS,
        "media": DEEP,
        "conversationId": DEEP,
        "participant": DEEP,
        "customConfig": DEEP,
        "code": DEEP,
        "language": DEEP,
    },
)
MESSAGES = st.tuples(st.sampled_from(KINDS), PARAMETERS | DEEP, st.booleans(), DURATIONS)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(MESSAGES | st.text(max_size=30) | st.binary(max_size=30), max_size=8), st.booleans()
)
def test_anything_is_answered_and_never_raises(messages: list[Any], active: bool) -> None:
    client = AudioHookClient()
    session = AudioHookSession(AGREED)
    if active:
        session, client = open_session()
    for message in messages:
        if isinstance(message, bytes):
            actions = session.binary(message)
        elif isinstance(message, str):
            actions = session.text(message)
        else:
            kind, parameters, right, position = message
            made = json.loads(client.message(kind, parameters))
            actions = session.text(json.dumps(made if right else {**made, "position": position}))
        client.saw(sent(actions))
        for action in actions:
            assert isinstance(action, Open | Audio | Lost | Send | Update | Alive | End)
            if isinstance(action, Lost):
                assert 0 < action.seconds <= 4 * 3600
            if isinstance(action, Open):
                client.saw(sent(session.opened()))
    assert session.gone() == [] or session.state is State.CLOSED
