"""From names to providers, and what may leave the machine."""

from __future__ import annotations

from typing import Any

import pytest
from tests.pseudolabel.fakes import rows

from voicetone.errors import UsageError
from voicetone.pseudolabel.routes import Wishes, cost, journey, leaves, steps_of
from voicetone.pseudolabel.steps import Step

TEXT = {"transcript_by": "none"}
AWAY = {**TEXT, "sentiment_by": "llm", "model": "m", "endpoint": "https://api.example.org/v1"}


def steps(**wishes: Any) -> list[Step]:
    return steps_of(Wishes(**wishes))


@pytest.fixture(autouse=True)
def no_clouds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_COMPREHEND", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("given", [None, "example.org", "evil.org", "", "https://api.example.org"])
def test_text_goes_nowhere_that_was_not_named(given: str | None) -> None:
    with pytest.raises(UsageError, match=r"say --send-text-to api\.example\.org"):
        steps(**AWAY, send_text_to=given)


def test_amazon_is_another_machine_too() -> None:
    amazon = {**TEXT, "sentiment_by": "comprehend", "region": "eu-west-1"}
    host = "comprehend.eu-west-1.amazonaws.com"
    with pytest.raises(UsageError, match=f"transcripts would go to {host}"):
        steps(**amazon)
    (step,) = steps(**amazon, send_text_to=host)
    trip = journey(step, rows({"transcript": "a"}).utterances)
    assert trip is not None
    assert (trip.host, trip.cargo) == (host, "1 transcripts, 3 billed units of 100 characters")
    audio = {"transcript_by": "transcribe", "sentiment_by": "none", "region": "eu-west-1"}
    with pytest.raises(UsageError, match="needs --bucket"):
        steps(**audio)
    with pytest.raises(UsageError, match=r"recordings would go to transcribe\.eu-west-1"):
        steps(**audio, bucket="toy-bucket", send_text_to="transcribe.eu-west-1.amazonaws.com")
    (step,) = steps(
        **audio, bucket="toy-bucket", send_audio_to="transcribe.eu-west-1.amazonaws.com"
    )
    assert leaves(step)
    trip = journey(step, rows({"duration": 90.0}, {"duration": 30.0}).utterances)
    assert trip is not None
    assert trip.cargo == "the audio of 2 utterances, 2.0 min"


def test_a_named_place_and_what_it_costs() -> None:
    (step,) = steps(**AWAY, send_text_to="API.example.org")
    asked = rows({"transcript": "a"}, {"transcript": "b"}).utterances
    trip = journey(step, asked)
    assert leaves(step)
    assert trip is not None
    assert trip.host == "api.example.org"
    assert trip.cargo.startswith("2 transcripts, about ")
    assert "cost is not known" in cost(step, asked, None)
    assert "about 120.00 at the prices given" in cost(step, asked, (0.0, 1e6))


def test_this_machine_needs_no_permission_and_default_routes_send_nothing() -> None:
    (step,) = steps(**{**AWAY, "endpoint": "http://localhost:8080/v1"})
    assert not leaves(step)
    assert cost(step, (), None) == ""
    (vader,) = steps(**TEXT)
    assert journey(vader, ()) is None
    assert not leaves(vader)


@pytest.mark.parametrize(
    ("wishes", "says"),
    [
        ({"sentiment_by": "llm"}, "needs --endpoint"),
        ({**AWAY, "model": None}, "needs --model"),
        ({**AWAY, "api_key_env": "NO_SUCH_VARIABLE"}, "no such environment variable"),
        ({"sentiment_by": "transformers"}, "needs --model"),
        ({"transcript_by": "faster-whisper"}, "needs --asr-model"),
        ({"transcript_by": "transformers"}, "needs --asr-model"),
        ({"emotion_by": "vader"}, "no such provider"),
    ],
)
def test_wishes_that_lack_something(wishes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        steps(**{**TEXT, **wishes})


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_KEY", "s3cret\n")
    (step,) = steps(**AWAY, send_text_to="api.example.org", api_key_env="TOY_KEY")
    assert "s3cret" not in step.source
