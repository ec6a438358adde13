"""Voice tone tasks: real boto3 clients against the real application on a loopback port."""

from __future__ import annotations

import asyncio
import datetime
import json
import threading
import tomllib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import botocore.auth
import numpy as np
import pytest
import uvicorn
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from toy import make_toy_bundle
from voicetone.audio.telephony import s16le_encode
from voicetone.pretrained import load
from voicetone.pretrained.predictor import Predictor
from voicetone.server.app import internal, make_app, make_state
from voicetone.server.call import CallStart, LiveCall
from voicetone.server.chime import Command, start_of, tasks_of
from voicetone.server.chime_events import LegTone
from voicetone.server.chime_tasks import ChimeError, ChimeSettings, Kind, is_caller
from voicetone.server.keys import KeySettings
from voicetone.server.peers import Peers, socket_of
from voicetone.server.settings import Settings
from voicetone.server.state import ServerState
from voicetone.server.store import StoreSettings
from voicetone.types import LabelSpace

CONNECTOR = "abcdefghijklmnopqrstu1"
PIPELINE = "0a1b2c3d-0000-4000-8000-000000000001"
ARN = "arn:aws:kinesisvideo:us-east-1:000000000000:stream/line-7/1234567890123"
SECRET = "a secret of the desk"
NAMES = ("agent", "customer")


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load(make_toy_bundle(tmp_path_factory.mktemp("bundle")))


class Served:
    """Workers of one server in a thread, the first of them on a loopback port."""

    def __init__(self, states: list[ServerState], folder: Path) -> None:
        self.states = states
        self.state = states[0]
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._loop = asyncio.new_event_loop()
        self._servers: list[uvicorn.Server] = []
        for n, state in enumerate(states):
            app = make_app(state)
            common = {"log_config": None, "ws": "websockets-sansio"}
            if len(states) > 1:
                private = uvicorn.Config(
                    internal(app), uds=str(socket_of(folder, n)), lifespan="off", **common
                )
                self._servers.append(uvicorn.Server(private))
            self._servers.append(uvicorn.Server(uvicorn.Config(app, port=0, **common)))  # type: ignore[arg-type]
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        async def serve() -> None:
            await asyncio.gather(*(server.serve() for server in self._servers))

        self._loop.run_until_complete(serve())
        self._loop.close()

    def __enter__(self) -> Served:
        self._thread.start()
        self.do(self._up())
        return self

    def __exit__(self, *exc: object) -> None:
        for server in self._servers:
            server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    async def _up(self) -> None:
        async with asyncio.timeout(10):
            while not all(server.started for server in self._servers):
                await asyncio.sleep(0.01)
        for state in self.states:
            tasks_of(state).subscribe(lambda call, event: self.events.append((call, dict(event))))

    def do(self, work: Awaitable[Any]) -> Any:
        async def run() -> Any:
            async with asyncio.timeout(20):
                return await work

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(25)

    def url(self, worker: int = 0) -> str:
        tcp = [s for s in self._servers if s.config.uds is None][worker]
        port = tcp.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def client(self, service: str = "chime-sdk-voice", worker: int = 0, **changes: Any) -> Any:
        words = {
            "region_name": "us-east-1",
            "aws_access_key_id": "desk",
            "aws_secret_access_key": SECRET,
            **changes,
        }
        config = Config(retries={"total_max_attempts": 1}, proxies={})
        return boto3.client(service, endpoint_url=self.url(worker), config=config, **words)

    def call(self, external: str, worker: int = 0, **changes: Any) -> LiveCall:
        words = {"channels": 2, "names": NAMES, "consent": True, **changes}

        async def opened() -> LiveCall:
            return self.states[worker].hub.open(
                CallStart("native", 8000, external=external, **words)
            )

        found: LiveCall = self.do(opened())
        return found

    def feed(self, call: LiveCall, seconds: float, loud: float = 0.1) -> None:
        rng = np.random.default_rng(3)
        shape = (round(seconds * 8000), call.start.channels)
        data = s16le_encode((loud * rng.standard_normal(shape)).astype(np.float32).reshape(-1))

        async def fed() -> None:
            call.audio(data)
            # The resampler keeps the newest samples back for a moment.
            due = (call.position - 0.1 - 5.0) // 2.5 * 2.5 + 5.0
            while due >= 5.0 and not set(call.session.channels) <= self.scored(call, due):
                await asyncio.sleep(0.005)

        self.do(fed())

    def scored(self, call: LiveCall, due: float) -> set[int | None]:
        """Channels of which the window to `due` has been told."""
        return {
            event.channel
            for event in call.backlog
            if event.type == "window" and event.body["end"] >= due
        }

    def end(self, call: LiveCall) -> None:
        async def ended() -> None:
            call.close("client")
            await call.ended()

        self.do(ended())


@contextmanager
def serving(
    predictor: Predictor, tmp_path: Path, workers: int = 1, **chime: Any
) -> Iterator[Served]:
    keys = (
        KeySettings(name="desk", scopes=("chime",), secret_env="DESK_SECRET"),
        KeySettings(name="pages", scopes=("read",), secret_env="DESK_SECRET"),
        KeySettings(name="slow", scopes=("chime",), secret_env="DESK_SECRET", calls_per_minute=1.0),
    )
    settings = Settings(store=StoreSettings(url=""), keys=keys, chime=ChimeSettings(**chime))
    states = [
        make_state(settings, predictor, peers=Peers(n, workers, tmp_path if workers > 1 else None))
        for n in range(workers)
    ]
    with Served(states, tmp_path) as served:
        yield served


@pytest.fixture
def served(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Served]:
    monkeypatch.setenv("DESK_SECRET", SECRET)
    with serving(predictor, tmp_path) as server:
        yield server


def fault(work: Callable[[], Any]) -> tuple[str, int]:
    """The exception that botocore makes of an answer, and the HTTP status."""
    with pytest.raises(ClientError) as error:
        work()
    told = error.value.response
    assert told["Error"]["Message"]
    assert told["ResponseMetadata"]["RequestId"]
    assert type(error.value).__name__ in (told["Error"]["Code"], "ClientError")
    return told["Error"]["Code"], told["ResponseMetadata"]["HTTPStatusCode"]


def begin(client: Any, transaction: str, **changes: Any) -> dict[str, Any]:
    answer = client.start_voice_tone_analysis_task(
        VoiceConnectorId=CONNECTOR, TransactionId=transaction, LanguageCode="en-US", **changes
    )
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 201
    task: dict[str, Any] = answer["VoiceToneAnalysisTask"]
    return task


def status(client: Any, task: str, caller: bool = True) -> dict[str, Any]:
    answer = client.get_voice_tone_analysis_task(
        VoiceConnectorId=CONNECTOR, VoiceToneAnalysisTaskId=task, IsCaller=caller
    )
    found: dict[str, Any] = answer["VoiceToneAnalysisTask"]
    return found


def test_a_task_on_a_call_from_start_to_end(served: Served) -> None:
    client = served.client()
    call = served.call("CA1")
    task = begin(client, "CA1")
    id = task["VoiceToneAnalysisTaskId"]
    assert task["VoiceToneAnalysisTaskStatus"] == "IN_QUEUE"
    assert task["CallDetails"] == {
        "VoiceConnectorId": CONNECTOR,
        "TransactionId": "CA1",
        "IsCaller": True,
    }
    assert isinstance(task["CreatedTimestamp"], datetime.datetime)
    served.feed(call, 20.0)
    running = status(client, id)
    assert running["VoiceToneAnalysisTaskStatus"] == "IN_PROGRESS"
    assert running["StartedTimestamp"] >= running["CreatedTimestamp"]
    agent = status(client, id, caller=False)
    assert agent["VoiceToneAnalysisTaskStatus"] == "FAILED"
    assert "not analysed" in agent["StatusMessage"]
    served.end(call)
    assert status(client, id)["VoiceToneAnalysisTaskStatus"] == "SUCCEEDED"
    kinds = [event["detail"]["detailStatus"] for _, event in served.events]
    assert kinds == ["VoiceToneAnalysisSuccessful"] * 4 + ["VoiceToneAnalysisCompleted"]
    assert {name for name, _ in served.events} == {call.id}


def test_the_events_have_the_documented_shape(served: Served) -> None:
    call = served.call("CA2")
    began = call.began
    task = begin(served.client(), "CA2")
    served.feed(call, 10.2)
    event = served.events[1][1]
    assert json.loads(json.dumps(event)) == event
    details = event["detail"].pop("voiceToneAnalysisDetails")
    moment = event.pop("time")
    assert datetime.datetime.fromisoformat(moment).timestamp() >= began - 1
    assert len(event.pop("id")) == 36
    assert event == {
        "version": "0",
        "detail-type": "VoiceToneAnalysisStatus",
        "service-type": "VoiceAnalytics",
        "source": "aws.chime",
        "account": "000000000000",
        "region": "us-east-1",
        "detail": {
            "taskId": task["VoiceToneAnalysisTaskId"],
            "detailStatus": "VoiceToneAnalysisSuccessful",
            "isCaller": True,
            "transactionId": "CA2",
            "voiceConnectorId": CONNECTOR,
            "callId": call.id,
        },
    }
    assert set(details) == {"currentAverageVoiceTone", "overallAverageVoiceTone"}
    tone = call.latest[2]
    for name in details:
        average = details[name]
        assert set(average) == {"startTime", "endTime", "voiceToneLabel", "voiceToneScore"}
        start = datetime.datetime.fromisoformat(average["startTime"])
        end = datetime.datetime.fromisoformat(average["endTime"])
        assert end - start == datetime.timedelta(seconds=10)
        scores = average["voiceToneScore"]
        # The task began with the call, so its averages are the call's own.
        assert scores == pytest.approx(tone["overall"]["sentiment"], abs=2e-4)
        assert average["voiceToneLabel"] == max(scores, key=scores.get)
        assert all(isinstance(score, float) for score in scores.values())
    served.end(call)


def test_overall_counts_from_the_start_of_the_task(served: Served) -> None:
    call = served.call("CA3", channels=1, names=None)
    windows: list[dict[str, Any]] = []
    served.state.hub.subscribe(
        lambda event: windows.append(dict(event.body)) if event.type == "window" else None
    )
    served.feed(call, 12.3)
    begin(served.client(), "CA3")
    served.feed(call, 15.0, loud=0.03)
    served.end(call)
    later = [w for w in windows if w["start"] >= 12.3 and w["speech_seconds"]]
    assert len(later) == 5
    weight = sum(w["speech_seconds"] for w in later)
    last = served.events[-1][1]["detail"]
    assert last["detailStatus"] == "VoiceToneAnalysisCompleted"
    scores = last["voiceToneAnalysisDetails"]["overallAverageVoiceTone"]["voiceToneScore"]
    for name, score in scores.items():
        mean = sum(w["speech_seconds"] * w["sentiment"][name] for w in later) / weight
        assert score == pytest.approx(mean, abs=2e-4)
    before = [w for w in windows if w["speech_seconds"]]
    assert len(before) > len(later)


def test_silence_is_told_as_failure(served: Served) -> None:
    call = served.call("CA4", channels=1, names=None)
    id = begin(served.client(), "CA4")["VoiceToneAnalysisTaskId"]
    served.feed(call, 5.0)
    served.feed(call, 15.0, loud=0.0)
    served.feed(call, 5.0)
    served.end(call)
    kinds = [
        e["detail"]["detailStatus"].removeprefix("VoiceToneAnalysis") for _, e in served.events
    ]
    assert kinds[0] == "Successful"
    assert kinds[-2:] == ["Successful", "Completed"]
    assert "Failure" in kinds[2:4]
    failed = next(e for _, e in served.events if e["detail"]["detailStatus"].endswith("Failure"))
    assert "voiceToneAnalysisDetails" not in failed["detail"]
    assert status(served.client(), id)["VoiceToneAnalysisTaskStatus"] == "SUCCEEDED"


def test_a_call_without_a_word_ends_in_failure(served: Served) -> None:
    call = served.call("CA5", analysed=(1,), channels=1, names=None)
    id = begin(served.client(), "CA5")["VoiceToneAnalysisTaskId"]
    served.feed(call, 7.5, loud=0.0)
    served.end(call)
    found = status(served.client(), id)
    assert found["VoiceToneAnalysisTaskStatus"] == "FAILED"
    assert found["StatusMessage"]
    assert "voiceToneAnalysisDetails" not in served.events[-1][1]["detail"]


def test_a_task_is_stopped_once(served: Served) -> None:
    client = served.client()
    call = served.call("CA6")
    id = begin(client, "CA6")["VoiceToneAnalysisTaskId"]
    served.feed(call, 5.0)
    place = {"VoiceConnectorId": CONNECTOR, "VoiceToneAnalysisTaskId": id}
    answer = client.stop_voice_tone_analysis_task(**place)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert status(client, id)["VoiceToneAnalysisTaskStatus"] == "STOPPED"
    count = len(served.events)
    assert served.events[-1][1]["detail"]["detailStatus"] == "VoiceToneAnalysisCompleted"
    served.feed(call, 10.0)
    assert len(served.events) == count
    again = fault(lambda: client.stop_voice_tone_analysis_task(**place))
    assert again == ("ConflictException", 409)
    begin(client, "CA6")  # another one may follow
    served.end(call)


def test_media_pipelines(served: Served) -> None:
    client = served.client("chime-sdk-media-pipelines")
    call = served.call("line-7")
    arn = f"arn:aws:chime:us-east-1:000000000000:media-pipeline/{PIPELINE}"

    def begun(identifier: str = PIPELINE, channel: int = 1) -> Any:
        return client.start_voice_tone_analysis_task(
            Identifier=identifier,
            LanguageCode="en-US",
            KinesisVideoStreamSourceTaskConfiguration={
                "StreamArn": ARN,
                "ChannelId": channel,
                "FragmentNumber": "91343852333181432392682062607743920",
            },
        )["VoiceToneAnalysisTask"]

    task = begun(arn)
    assert task["VoiceToneAnalysisTaskStatus"] == "Initializing"
    place = {"Identifier": arn, "VoiceToneAnalysisTaskId": task["VoiceToneAnalysisTaskId"]}
    served.feed(call, 5.2)
    found = client.get_voice_tone_analysis_task(**place)["VoiceToneAnalysisTask"]
    assert found["VoiceToneAnalysisTaskStatus"] == "InProgress"
    detail = served.events[0][1]["detail"]
    assert {k: v for k, v in detail.items() if k[0] != "v"} == {
        "taskId": task["VoiceToneAnalysisTaskId"],
        "detailStatus": "VoiceToneAnalysisSuccessful",
        "startFragmentNumber": "91343852333181432392682062607743920",
        "mediaInsightsPipelineId": PIPELINE,
        "sourceArn": arn,
        "streamArn": ARN,
        "channelId": 1,
    }
    assert fault(begun) == ("ConflictException", 409)
    assert fault(lambda: begun(channel=0)) == ("ForbiddenException", 403)  # the agent's
    client.stop_voice_tone_analysis_task(**place)
    found = client.get_voice_tone_analysis_task(**place)["VoiceToneAnalysisTask"]
    assert found["VoiceToneAnalysisTaskStatus"] == "Stopped"
    served.end(call)
    assert fault(begun) == ("NotFoundException", 404)


def test_who_may_not_is_told_so(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served.call("CA7")
    unknown = ("UnauthorizedClientException", 401)
    wrong = served.client(aws_secret_access_key="another")
    assert fault(lambda: begin(wrong, "CA7")) == unknown
    assert fault(lambda: begin(served.client(aws_access_key_id="me"), "CA7")) == unknown
    assert fault(lambda: begin(served.client(region_name="eu-west-1"), "CA7")) == unknown
    reader = served.client(aws_access_key_id="pages")
    assert fault(lambda: begin(reader, "CA7")) == ("ForbiddenException", 403)
    tampered = served.client()

    def changed(request: Any, **rest: Any) -> None:
        request.body = request.body.replace(b"CA7", b"CA8")

    tampered.meta.events.register("before-send.chime-sdk-voice.*", changed)
    assert fault(lambda: begin(tampered, "CA7")) == unknown
    old = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=6)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: old)
    assert fault(lambda: begin(served.client(), "CA7")) == unknown
    assert tasks_of(served.state).running == 0


def test_a_credential_used_too_often_is_throttled(served: Served) -> None:
    served.call("CA9")
    client = served.client(aws_access_key_id="slow")
    id = begin(client, "CA9")["VoiceToneAnalysisTaskId"]
    assert fault(lambda: begin(client, "CA9")) == ("ThrottledClientException", 429)
    assert status(client, id)["VoiceToneAnalysisTaskId"] == id  # asking is not starting


def test_what_is_not_there(served: Served) -> None:
    client = served.client()
    call = served.call("CA10")
    assert fault(lambda: begin(client, "CA-none")) == ("NotFoundException", 404)
    id = begin(client, "CA10")["VoiceToneAnalysisTaskId"]
    assert fault(lambda: begin(client, "CA10")) == ("ConflictException", 409)
    nobody = "00000000-0000-4000-8000-000000000000"
    assert fault(lambda: status(client, nobody)) == ("NotFoundException", 404)
    assert fault(lambda: status(client, "odd")) == ("BadRequestException", 400)
    other = {"VoiceConnectorId": "z" * 22, "VoiceToneAnalysisTaskId": id, "IsCaller": True}
    gone = fault(lambda: client.get_voice_tone_analysis_task(**other))
    assert gone == ("NotFoundException", 404)
    started = {"TransactionId": "CA10", "LanguageCode": "en-US"}
    odd = fault(lambda: client.start_voice_tone_analysis_task(VoiceConnectorId="Odd", **started))
    assert odd == ("BadRequestException", 400)
    for changes in ({"LanguageCode": "de-DE"}, {"ClientRequestToken": "a b"}):
        words = {"VoiceConnectorId": CONNECTOR, **started, **changes}
        bad = fault(lambda words=words: client.start_voice_tone_analysis_task(**words))
        assert bad == ("BadRequestException", 400)
    served.end(call)


def test_a_token_makes_one_task_of_two_starts(served: Served) -> None:
    client = served.client()
    served.call("CA11")
    served.call("CA12")
    first = begin(client, "CA11", ClientRequestToken="token-1")
    again = begin(client, "CA11", ClientRequestToken="token-1")
    assert first["VoiceToneAnalysisTaskId"] == again["VoiceToneAnalysisTaskId"]
    assert tasks_of(served.state).running == 1
    other = fault(lambda: begin(client, "CA12", ClientRequestToken="token-1"))
    assert other == ("ConflictException", 409)


def test_limits_and_names_that_are_set(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESK_SECRET", SECRET)
    words = {"voice_connectors": (CONNECTOR,), "tasks": 1, "score_strings": True, "keep": 1}
    with serving(predictor, tmp_path, **words) as served:
        client = served.client()
        one, two = served.call("CA13"), served.call("CA14")
        first = begin(client, "CA13")["VoiceToneAnalysisTaskId"]
        assert fault(lambda: begin(client, "CA14")) == ("ResourceLimitExceededException", 400)
        served.feed(one, 5.2)
        scores = served.events[0][1]["detail"]["voiceToneAnalysisDetails"][
            "currentAverageVoiceTone"
        ]["voiceToneScore"]
        assert all(isinstance(score, str) and 0 <= float(score) <= 1 for score in scores.values())
        served.end(one)
        second = begin(client, "CA14")["VoiceToneAnalysisTaskId"]
        served.end(two)
        assert fault(lambda: status(client, first)) == ("NotFoundException", 404)  # one is kept
        assert status(client, second)["VoiceToneAnalysisTaskStatus"] == "FAILED"
        unknown = fault(
            lambda: client.get_voice_tone_analysis_task(
                VoiceConnectorId="z" * 22, VoiceToneAnalysisTaskId=second, IsCaller=True
            )
        )
        assert unknown == ("NotFoundException", 404)
        served.state.hub.draining = True


def test_a_call_of_another_worker(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESK_SECRET", SECRET)
    with serving(predictor, tmp_path, workers=2) as served:
        call = served.call("CA15", worker=1)
        client = served.client(worker=0)
        task = begin(client, "CA15")
        id = task["VoiceToneAnalysisTaskId"]
        assert id.startswith("0001")
        assert tasks_of(served.states[1]).running == 1
        for worker in (0, 1):
            found = status(served.client(worker=worker), id)
            assert found["VoiceToneAnalysisTaskStatus"] == "IN_QUEUE"
        assert fault(lambda: begin(client, "CA15")) == ("ConflictException", 409)
        assert fault(lambda: begin(client, "CA16")) == ("NotFoundException", 404)
        client.stop_voice_tone_analysis_task(VoiceConnectorId=CONNECTOR, VoiceToneAnalysisTaskId=id)
        assert status(client, id)["VoiceToneAnalysisTaskStatus"] == "STOPPED"
        served.end(call)


def test_the_pages_example(
    served: Served, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (root / "docs" / "chime.md").read_text("utf-8")
    example = page.partition("```python\n")[2].partition("```")[0]
    example = example.replace("http://127.0.0.1:8765", served.url())
    call = served.call("CA0123456789abcdef")
    exec(example.replace("the secret of the desk", SECRET), {})
    assert capsys.readouterr().out == "IN_QUEUE\n"
    assert tasks_of(served.state).running == 0
    told = served.events[0][1]
    shown = json.loads(page.partition("```json\n")[2].partition("```")[0])
    assert list(shown) == list(told)
    assert set(shown["detail"]) - {"voiceToneAnalysisDetails"} == set(told["detail"])
    words = tomllib.loads(page.partition("```toml\n")[2].partition("```")[0])
    monkeypatch.setenv("DESK_SECRET", "x")
    assert TypeAdapter(Settings).validate_python(words).chime.account == "123456789012"
    served.end(call)


# -- without a server ------------------------------------------------------------------------------


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
