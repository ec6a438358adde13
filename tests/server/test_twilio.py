"""Twilio Media Streams: order, holes, doubles, signatures, and anything at all."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server.phones import (
    FRAME,
    as_text,
    assert_same,
    bodies,
    coded,
    file_windows,
    heard,
    over,
    twilio_media,
    twilio_session,
    twilio_start,
    voice,
    windows,
    with_hub,
)

from voicetone.pretrained.predictor import Predictor
from voicetone.server.events import CallEvent
from voicetone.server.hub import Hub
from voicetone.server.refusal import RefusedError
from voicetone.server.telephony import Audio, End, Open
from voicetone.server.telephony_call import Runner
from voicetone.server.twilio import TwilioSettings, TwilioStream, check_signature, sign

AGREED = TwilioSettings(consent=True)


async def replayed(
    hub: Hub, messages: list[dict[str, Any]], settings: TwilioSettings = AGREED
) -> list[CallEvent]:
    stream, runner = TwilioStream(settings), Runner(hub)
    for text in as_text(messages):
        await runner.do(stream.text(text))
    await runner.do(stream.gone())
    return await over(runner.call)


def test_a_session_gives_the_windows_of_the_same_file(predictor: Predictor) -> None:
    caller, agent = coded(voice(9.1)), coded(voice(9.1, 8))
    names = ("customer", "agent")

    async def work(hub: Hub) -> None:
        events = await replayed(hub, twilio_session(caller, agent, queue="billing", order="17"))
        assert_same(windows(events), file_windows(predictor, heard([caller, agent]), names))
        created = events[0].body
        assert created["external"] == "CA00000000000000000000000000000001"
        assert (created["queue"], created["metadata"]) == ("billing", {"order": "17"})
        assert created["analysed"] == [1]
        assert events[-1].body["reason"] == "stopped"
        assert events[-1].body["duration"] == pytest.approx(9.1)
        assert bodies(events, "gap") == []
        alone = await replayed(hub, twilio_session(caller))
        assert_same(windows(alone), file_windows(predictor, heard([caller])))

    with_hub(predictor, work)


def test_reordered_and_doubled_frames_change_nothing(predictor: Predictor) -> None:
    caller, agent = coded(voice(6.0)), coded(voice(6.0, 8))
    messages = twilio_session(caller, agent)
    rng = np.random.default_rng(3)
    media = messages[2:-1]
    order = np.argsort(np.arange(len(media)) + rng.uniform(0, 8, len(media)))
    mixed = [media[i] for i in order for _ in range(1 + int(rng.uniform() < 0.1))]
    assert [m["sequenceNumber"] for m in mixed] != [m["sequenceNumber"] for m in media]

    async def work(hub: Hub) -> None:
        events = await replayed(hub, [*messages[:2], *mixed, messages[-1]])
        want = file_windows(predictor, heard([caller, agent]), ("customer", "agent"))
        assert_same(windows(events), want)
        assert bodies(events, "gap") == []

    with_hub(predictor, work)


def test_missing_frames_are_silence_and_told(predictor: Predictor) -> None:
    caller, agent = coded(voice(6.0)), coded(voice(6.0, 8))
    lost = [m for m in twilio_session(caller, agent) if not _is(m, "inbound", range(101, 111))]
    silent = bytearray(caller)
    silent[100 * FRAME : 110 * FRAME] = b"\xff" * (10 * FRAME)

    async def work(hub: Hub) -> None:
        events = await replayed(hub, lost)
        want = file_windows(predictor, heard([bytes(silent), agent]), ("customer", "agent"))
        assert_same(windows(events), want)
        assert bodies(events, "gap") == [(1, {"start": 2.0, "end": 2.2, "reason": "lost"})]
        assert events[-1].body["duration"] == 6.0

    with_hub(predictor, work)


def _is(message: dict[str, Any], track: str, chunks: range) -> bool:
    media = message.get("media", {})
    return media.get("track") == track and int(media["chunk"]) in chunks


def test_a_cut_connection_ends_the_call_with_what_came(predictor: Predictor) -> None:
    async def work(hub: Hub) -> None:
        caller = coded(voice(5.5))
        events = await replayed(hub, twilio_session(caller)[:-1])
        assert events[-1].body["reason"] == "gone"
        assert_same(windows(events), file_windows(predictor, heard([caller])))

    with_hub(predictor, work)


def test_a_track_that_comes_later_and_one_that_never_comes(predictor: Predictor) -> None:
    caller, agent = coded(voice(6.0)), coded(voice(4.0, 8))
    late = [*twilio_media("inbound", caller), *twilio_media("outbound", agent, 60 + 2000)]
    late.sort(key=lambda one: int(one["media"]["timestamp"]))
    stop = {"event": "stop", "stop": {}}
    both = TwilioSettings(consent=True, inbound="caller one", outbound="caller two")

    async def work(hub: Hub) -> None:
        start = twilio_start(["inbound", "outbound"])
        events = await replayed(hub, [*start, *late, stop], both)
        quiet = b"\xff" * (2 * 8000) + agent
        assert_same(windows(events), file_windows(predictor, heard([caller, quiet])))
        assert bodies(events, "gap") == []
        events = await replayed(hub, [*start, *twilio_media("inbound", caller), stop], both)
        nobody = b"\xff" * len(caller)
        assert_same(windows(events), file_windows(predictor, heard([caller, nobody])))

    with_hub(predictor, work)


def test_what_exotel_and_telnyx_send(predictor: Predictor) -> None:
    pcm = (voice(5.2) * 32767).astype("<i2")
    exotel: list[dict[str, Any]] = [
        {"event": "connected"},
        {
            "event": "start",
            "sequence_number": "1",
            "stream_sid": "MZ1",
            "start": {
                "stream_sid": "MZ1",
                "call_sid": "exotel-1",
                "custom_parameters": {"consent": "true"},
                "media_format": {
                    "encoding": "audio/x-raw",
                    "sample_rate": "8000",
                    "bit_rate": "16",
                },
            },
        },
    ]
    for at in range(0, len(pcm), 800):
        media = {"chunk": at // 800 + 1, "timestamp": str(at // 8)}
        frame = {"event": "media", "sequence_number": "2", "stream_sid": "MZ1"}
        payload = _base64(pcm[at : at + 800].tobytes())
        frame = {**frame, "media": {**media, "payload": payload}}
        exotel.append(frame)
    telnyx = twilio_session(coded(voice(5.0)), coded(voice(5.0, 8)))
    start = telnyx[1].pop("start")
    telnyx[1]["start"] = {
        "call_control_id": "v2:telnyx-1",
        "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1},
    }
    assert start["tracks"] == ["inbound", "outbound"]

    async def work(hub: Hub) -> None:
        events = await replayed(hub, exotel, TwilioSettings())
        samples = (pcm.astype(np.float32) / 32768)[None]
        assert_same(windows(events), file_windows(predictor, samples))
        assert events[0].body["external"] == "exotel-1"
        events = await replayed(hub, telnyx)
        assert events[0].body["names"] == ["customer", "agent"]
        assert len(windows(events)) == 1

    with_hub(predictor, work)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_consent_staff_and_who_is_analysed(predictor: Predictor) -> None:
    async def work(hub: Hub) -> None:
        async def refused(messages: list[dict[str, Any]], settings: TwilioSettings) -> str:
            with pytest.raises(RefusedError) as said:
                await replayed(hub, messages, settings)
            return said.value.code

        assert await refused(twilio_start(["inbound"]), TwilioSettings()) == "consent_required"
        assert await refused(twilio_start(["outbound"]), AGREED) == "forbidden"
        only = TwilioSettings(consent=True, analyse=("outbound",))
        assert await refused(twilio_start(["inbound", "outbound"]), only) == "forbidden"
        assert await refused(twilio_start(["inbound"]), only) == "bad_request"
        swapped = TwilioSettings(consent=True, inbound="agent", outbound="customer")
        stream, runner = TwilioStream(swapped), Runner(hub)
        for text in as_text(twilio_start(["outbound", "inbound"])):
            await runner.do(stream.text(text))
        assert runner.call is not None
        assert runner.call.session.channels == (2,)
        assert hub.calls.keys() == {runner.call.id}

    with_hub(predictor, work)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"start": None}, "bad_request"),
        ({"mediaFormat": {"encoding": "audio/x-mulaw"}}, "bad_request"),
        ({"mediaFormat": {"encoding": "opus", "sampleRate": 8000}}, "unsupported_media"),
        (
            {"mediaFormat": {"encoding": "pcmu", "sampleRate": 8000, "channels": 2}},
            "unsupported_media",
        ),
        ({"mediaFormat": {"encoding": "pcmu", "sampleRate": True}}, "bad_request"),
        ({"tracks": ["inbound", "inbound"]}, "bad_request"),
        ({"tracks": "inbound"}, "bad_request"),
        ({"callSid": ""}, "bad_request"),
        ({"callSid": "x" * 257}, "bad_request"),
    ],
)
def test_a_start_that_cannot_be(change: dict[str, Any], code: str) -> None:
    message = twilio_start(["inbound"])[1]
    message["start"].update(change)
    if "start" in change:
        del message["start"]
    with pytest.raises(RefusedError) as said:
        TwilioStream(AGREED).text(json.dumps(message))
    assert said.value.code == code


def test_the_wrong_order_of_messages() -> None:
    stream = TwilioStream(AGREED)
    frame = as_text(twilio_media("inbound", b"\xff" * 160))[0]
    for early in (frame, json.dumps({"event": "stop"})):
        with pytest.raises(RefusedError) as said:
            stream.text(early)
        assert said.value.code == "conflict"
    first, start = as_text(twilio_start(["inbound"]))
    assert stream.text(first) == []
    assert isinstance(stream.text(start)[0], Open)
    with pytest.raises(RefusedError):
        stream.text(start)
    for ignored in ({"event": "dtmf", "dtmf": {"digit": "5"}}, {"event": "mark"}, {"event": 3}):
        assert stream.text(json.dumps(ignored)) == []
    assert stream.text(frame) == []  # pieces of 0.1 s leave
    last = stream.text(json.dumps({"event": "stop"}))
    assert last == [Audio(b"\xff" * 160), End("stopped")]
    assert stream.text(frame) == stream.gone() == stream.text(json.dumps({"event": "stop"})) == []


@pytest.mark.parametrize(
    "change",
    [
        {"payload": "no base64!"},
        {"payload": ""},
        {"payload": None},
        {"payload": "A" * 70_000},
        {"track": "outbound"},
        {"track": ["inbound"]},
        {"chunk": "-1"},
        {"chunk": "1e3"},
        {"chunk": "٣"},
        {"timestamp": None},
        {"timestamp": str(10**12)},
        {"chunk": "100000"},
    ],
)
def test_a_bad_frame_is_left_out_and_the_stream_goes_on(change: dict[str, Any]) -> None:
    stream = TwilioStream(AGREED)
    for text in as_text(twilio_start(["inbound"])):
        stream.text(text)
    frames = twilio_media("inbound", bytes(range(160)) + b"\xff" * 160)
    assert stream.text(json.dumps(frames[0])) == []
    bad = {**frames[1], "media": {**frames[1]["media"], **change}}
    with pytest.raises(RefusedError):
        stream.text(json.dumps(bad))
    assert stream.text(json.dumps(frames[1])) == []
    assert stream.gone() == [Audio(bytes(range(160)) + b"\xff" * 160), End("gone")]


def test_too_many_bad_messages_end_the_call(predictor: Predictor) -> None:
    async def work(hub: Hub) -> None:
        stream, runner = TwilioStream(AGREED), Runner(hub, bad=3)
        for text in as_text(twilio_session(coded(voice(1.0)))[:-1]):
            await runner.do(stream.text(text))
        for _ in range(3):
            runner.wrong(RefusedError("bad_request", "wrong"))
        assert runner.running
        runner.wrong(RefusedError("bad_request", "wrong"))
        events = await over(runner.call)
        assert [e.body["fatal"] for e in events if e.type == "error"] == [False] * 3 + [True]
        await runner.do(stream.text(json.dumps({"event": "stop"})))  # too late, and no harm

    with_hub(predictor, work)


KEYS = st.sampled_from(
    ["start", "mediaFormat", "encoding", "sampleRate", "tracks", "callSid", "media", "payload"]
) | st.text(max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
MESSAGES = st.fixed_dictionaries(
    {"event": st.sampled_from(["start", "media", "stop", "connected"]) | JSON},
    optional={"start": JSON, "media": JSON, "streamSid": JSON},
)


@settings(max_examples=200, deadline=None)
@given(st.lists(MESSAGES.map(json.dumps) | st.text(max_size=40), max_size=6), st.booleans())
def test_anything_is_refused_or_ignored(messages: list[str], started: bool) -> None:
    stream = TwilioStream(AGREED)
    if started:
        stream.text(as_text(twilio_start(["inbound", "outbound"]))[1])
    for message in messages:
        with suppress(RefusedError):
            stream.text(message)
    stream.gone()


def test_deep_json_is_refused() -> None:
    with pytest.raises(RefusedError):
        TwilioStream(AGREED).text("[" * 60_000)
    with pytest.raises(RefusedError) as long:
        TwilioStream(AGREED).text(" " * 70_000)
    assert long.value.code == "message_too_large"


def test_twilios_own_example_of_a_signature() -> None:
    # https://www.twilio.com/docs/usage/security#validating-requests
    parameters = {
        "Digits": "1234",
        "To": "+18005551212",
        "From": "+14158675309",
        "Caller": "+14158675309",
        "CallSid": "CA1234567890ABCDE",
    }
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert sign("12345", url, parameters) == "RSOYDt4T1cUTdK1PDd93/VVr8B8="


@pytest.mark.parametrize(
    ("signed", "ours"),
    [
        ("wss://tone.example/v1/twilio", "wss://tone.example/v1/twilio"),
        ("wss://tone.example/v1/twilio/", "wss://tone.example/v1/twilio"),
        ("wss://tone.example:443/v1/twilio", "wss://tone.example/v1/twilio"),
        ("wss://tone.example/v1/twilio", "wss://tone.example:443/v1/twilio"),
        ("wss://tone.example:8443/v1/twilio", "wss://tone.example:8443/v1/twilio"),
        ("wss://[::1]:443/v1/twilio", "wss://[::1]/v1/twilio"),
    ],
)
def test_spellings_of_one_address(signed: str, ours: str) -> None:
    check_signature("token", ours, sign("token", signed))
    for wrong in (
        sign("other", signed),
        sign("token", signed.replace("tone", "evil").replace("::1", "::2")),
        "",
        "é",
        sign("token", signed)[:-2],
    ):
        with pytest.raises(RefusedError) as said:
            check_signature("token", ours, wrong)
        assert said.value.code == "unauthorised"


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="WebSocket"):
        TwilioSettings(public_url="https://tone.example")
    with pytest.raises(ValueError, match="no track"):
        TwilioSettings(analyse=())


def test_a_paused_stream_is_silence(predictor: Predictor) -> None:
    """Time stamps that jump while numbers don't: nothing was sent, so nothing was lost."""
    caller = coded(voice(4.0))
    later = twilio_media("inbound", caller)
    for frame in later[100:]:
        frame["media"]["timestamp"] = str(int(frame["media"]["timestamp"]) + 3000)

    async def work(hub: Hub) -> None:
        events = await replayed(hub, [*twilio_start(["inbound"]), *later, {"event": "stop"}])
        quiet = caller[:16_000] + b"\xff" * 24_000 + caller[16_000:]
        assert_same(windows(events), file_windows(predictor, heard([quiet])))
        assert bodies(events, "gap") == []

    with_hub(predictor, work)
