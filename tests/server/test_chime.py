"""Voice tone tasks: real boto3 clients against the real application on a loopback port."""

from __future__ import annotations

import datetime
import json
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import botocore.auth
import pytest
from botocore.exceptions import ClientError
from pydantic import TypeAdapter

from server.served import Served
from voicetone.pretrained.predictor import Predictor
from voicetone.server.app import make_state
from voicetone.server.chime import tasks_of
from voicetone.server.chime_tasks import ChimeSettings
from voicetone.server.keys import KeySettings
from voicetone.server.peers import Peers
from voicetone.server.settings import Settings
from voicetone.server.store import StoreSettings

CONNECTOR = "abcdefghijklmnopqrstu1"
PIPELINE = "0a1b2c3d-0000-4000-8000-000000000001"
ARN = "arn:aws:kinesisvideo:us-east-1:000000000000:stream/line-7/1234567890123"
SECRET = "a secret of the desk"


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
    with Served(states, tmp_path, SECRET) as served:
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
