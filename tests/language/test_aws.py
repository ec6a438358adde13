"""Comprehend by botocore's stubs, Transcribe and its bucket by moto: no request leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import numpy as np
import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError
from botocore.stub import Stubber
from moto import mock_aws

from voicetone.errors import DataError, UsageError
from voicetone.language import Opinion, Spoken
from voicetone.language.comprehend import ComprehendLabeller
from voicetone.language.transcribe import AmazonTranscriber, spoken_of
from voicetone.types import Waveform

REGION = "eu-west-1"
SOUND = Waveform(np.full((1, 16_000), 0.1, np.float32), 16_000)


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def comprehend() -> Iterator[tuple[ComprehendLabeller, Stubber]]:
    client = boto3.client("comprehend", region_name=REGION)
    with Stubber(client) as stub:
        yield ComprehendLabeller(client=client), stub
        stub.assert_no_pending_responses()


def item(index: int, sentiment: str, **scores: float) -> dict[str, Any]:
    told = dict.fromkeys(("Positive", "Neutral", "Negative", "Mixed"), 0.0) | scores
    return {"Index": index, "Sentiment": sentiment, "SentimentScore": told}


def test_a_batch_with_every_kind_of_answer(
    comprehend: tuple[ComprehendLabeller, Stubber],
) -> None:
    labeller, stub = comprehend
    texts = ["good", "", "bad", "x" * 5001, "both", "broken", "ü" * 2500, "lost"]
    stub.add_response(
        "batch_detect_sentiment",
        {
            "ResultList": [
                item(0, "POSITIVE", Positive=0.6, Neutral=0.2, Mixed=0.2),
                item(1, "NEGATIVE", Negative=0.9, Neutral=0.1),
                item(2, "MIXED", Mixed=0.7, Positive=0.3),
                item(4, "NEUTRAL", Neutral=1.0),
            ],
            "ErrorList": [{"Index": 3, "ErrorCode": "INTERNAL", "ErrorMessage": "?"}],
        },
        {"TextList": ["good", "bad", "both", "broken", "ü" * 2500, "lost"], "LanguageCode": "en"},
    )
    found = labeller.label(texts, "en")
    assert [o.sentiment for o in found] == [
        "positive", None, "negative", None, None, None, "neutral", None
    ]  # fmt: skip
    assert found[0].scores == pytest.approx({"positive": 0.75, "neutral": 0.25, "negative": 0.0})
    assert [o.problem for o in found] == [
        "",
        "no words in the transcript",
        "",
        "a transcript of more than 5,000 bytes",
        "mixed sentiment",
        "refused with INTERNAL",
        "",
        "no answer for this text",
    ]
    assert [o.failed for o in found] == [False] * 5 + [True, False, True]


def test_a_throttled_batch_fails_its_rows_and_three_in_a_row_end_the_run(
    comprehend: tuple[ComprehendLabeller, Stubber],
) -> None:
    labeller, stub = comprehend
    for _ in range(3):
        stub.add_client_error("batch_detect_sentiment", "ThrottlingException")
        found = labeller.label(["a", "b"], "en")
        assert found == [Opinion(problem="refused with ThrottlingException", failed=True)] * 2
    with pytest.raises(DataError, match="no answer 3 times in a row"):
        labeller.label(["a"], "en")


def test_wrong_rights_end_the_run(comprehend: tuple[ComprehendLabeller, Stubber]) -> None:
    labeller, stub = comprehend
    stub.add_client_error("batch_detect_sentiment", "AccessDeniedException")
    with pytest.raises(DataError, match="refused with AccessDeniedException"):
        labeller.label(["a"], "en")


@pytest.mark.parametrize(
    ("error", "ends"),
    [(NoCredentialsError(), True), (EndpointConnectionError(endpoint_url="x"), False)],
)
def test_errors_before_any_answer(error: Exception, ends: bool) -> None:
    class Client:
        meta = boto3.client("comprehend", region_name=REGION).meta

        def batch_detect_sentiment(self, **request: object) -> None:
            raise error

    labeller = ComprehendLabeller(client=Client())
    if ends:
        with pytest.raises(DataError, match="no credentials"):
            labeller.label(["a"], "en")
    else:
        assert labeller.label(["a"], "en")[0].problem == "no answer (EndpointConnectionError)"


def test_units_and_host() -> None:
    labeller = ComprehendLabeller(REGION)
    assert labeller.host == "comprehend.eu-west-1.amazonaws.com"
    assert labeller.units(["a", "b" * 301]) == 3 + 4


def test_no_region_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "none")
    with pytest.raises(UsageError, match="name a --region"):
        ComprehendLabeller()


RESULT = {
    "results": {
        "transcripts": [{"transcript": "Hello there."}],
        "items": [
            {"type": "pronunciation", "alternatives": [{"confidence": "0.9", "content": "Hello"}]},
            {"type": "pronunciation", "alternatives": [{"confidence": "0.7", "content": "there"}]},
            {"type": "punctuation", "alternatives": [{"confidence": "0.0", "content": "."}]},
        ],
    }
}


class Cloud:
    """Moto's bucket and jobs; writes the words of a job while the transcriber waits for it."""

    def __init__(self, content: bytes | None) -> None:
        self.content = content
        self.store = boto3.client("s3", region_name=REGION)
        self.jobs = boto3.client("transcribe", region_name=REGION)
        self.store.create_bucket(
            Bucket="toy-bucket", CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        self.seen: list[dict[str, Any]] = []

    def sleep(self, seconds: float) -> None:
        (job,) = self.jobs.list_transcription_jobs()["TranscriptionJobSummaries"]
        name = job["TranscriptionJobName"]
        told = self.jobs.get_transcription_job(TranscriptionJobName=name)["TranscriptionJob"]
        self.seen.append(told)
        if self.content is not None:
            self.store.put_object(Bucket="toy-bucket", Key=f"{name}.json", Body=self.content)

    @property
    def left(self) -> int:
        """Objects and jobs that are still there."""
        objects = self.store.list_objects_v2(Bucket="toy-bucket").get("KeyCount", 0)
        return int(objects) + len(self.jobs.list_transcription_jobs()["TranscriptionJobSummaries"])


@pytest.mark.parametrize(("language", "code"), [("en", "en-US"), ("de", "de-DE"), ("cy", None)])
def test_words_through_a_bucket_that_is_empty_afterwards(language: str, code: str | None) -> None:
    with mock_aws():
        cloud = Cloud(json.dumps(RESULT).encode())
        said = AmazonTranscriber("toy-bucket", REGION, sleep=cloud.sleep).transcribe(
            SOUND, language
        )
        assert said.text == "Hello there."
        assert said.confidence == pytest.approx(0.8)
        assert bool(cloud.seen[0].get("IdentifyLanguage")) == (code is None)
        assert code is None or cloud.seen[0]["LanguageCode"] == code
        assert cloud.seen[0]["Media"]["MediaFileUri"].startswith("s3://toy-bucket/voicetone-")
        assert cloud.left == 0


def test_a_job_without_words_leaves_nothing_either() -> None:
    with mock_aws():
        cloud = Cloud(None)
        said = AmazonTranscriber("toy-bucket", REGION, sleep=cloud.sleep).transcribe(SOUND, "en")
        assert said == Spoken(problem="refused with NoSuchKey", failed=True)
        assert cloud.left == 0


def test_an_interrupted_job_leaves_nothing() -> None:
    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    with mock_aws():
        cloud = Cloud(None)
        with pytest.raises(KeyboardInterrupt):
            AmazonTranscriber("toy-bucket", REGION, sleep=stop).transcribe(SOUND, "en")
        assert cloud.left == 0


def test_a_bucket_that_is_not_there_ends_the_run() -> None:
    with mock_aws(), pytest.raises(DataError, match="refused with NoSuchBucket"):
        AmazonTranscriber("no-bucket", REGION).transcribe(SOUND, "en")


def test_short_audio_is_not_sent() -> None:
    with mock_aws():
        cloud = Cloud(None)
        said = AmazonTranscriber("toy-bucket", REGION).transcribe(SOUND.slice(0, 0.4), "en")
        assert (said.problem, said.failed) == ("shorter than 0.5 s", False)
        assert cloud.left == 0


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"results": {"transcripts": []}}'])
def test_results_of_another_form(content: bytes) -> None:
    assert spoken_of(content).failed
