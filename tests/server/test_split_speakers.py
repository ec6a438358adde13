"""`split_speakers` of `POST /v1/analyze`: the command's numbers, and who may not be split."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient

from server.served import WAV, YES, entry, key
from voicetone.errors import AudioError, UsageError
from voicetone.inference.file import analyze
from voicetone.inference.split_file import Splitting
from voicetone.pretrained.predictor import Predictor
from voicetone.server.analysis import Wanted, analysed
from voicetone.server.app import make_app, make_state
from voicetone.server.hub import Limits
from voicetone.server.lawful import require_lawful_split
from voicetone.server.refusal import RefusedError
from voicetone.server.routes_files import AnalyzeOut
from voicetone.server.settings import Settings
from voicetone.server.store import StoreSettings

CUSTOMER = {"channel_names": "customer"}


@pytest.fixture(autouse=True, scope="module")
def no_dvectors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOICETONE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def client(bundle: Path, predictor: Predictor) -> Iterator[TestClient]:
    settings = Settings(
        store=StoreSettings(url=""), keys=(entry("desk"),), model=str(bundle), limits=Limits()
    )
    with TestClient(make_app(make_state(settings, predictor)), headers=key("desk")) as client:
        yield client


def mono() -> bytes:
    """Two colours of noise in turn on one channel, 18 s at 16 kHz."""
    rng = np.random.default_rng(5)
    white = 0.2 * rng.standard_normal((4, 64_000))
    low = np.array([np.convolve(row, np.hanning(64) / 12, "same") for row in white])
    pause = np.zeros(8000)
    parts = [white[0], pause, low[1], pause, white[2], pause, low[3]]
    out = io.BytesIO()
    soundfile.write(out, np.concatenate(parts), 16_000, format="WAV", subtype="FLOAT")
    return out.getvalue()


def post(client: TestClient, **query: str) -> Any:
    return client.post("/v1/analyze", content=mono(), headers=WAV, params={**YES, **query})


def test_the_numbers_of_the_command(
    client: TestClient, predictor: Predictor, tmp_path: Path
) -> None:
    answer = post(client, split_speakers="2", name="a.wav", **CUSTOMER)
    assert answer.status_code == 200
    audio = answer.json()["audio"]
    (tmp_path / "a.wav").write_bytes(mono())
    wanted = analyze(tmp_path / "a.wav", predictor, names=["customer"], split=Splitting(2))
    assert audio == {**wanted.to_dict(), "file": "a.wav"}
    assert [c["name"] for c in audio["channels"]] == ["speaker 1", "speaker 2"]
    assert audio["split"]["speakers"] == 2
    found = AnalyzeOut.model_validate(answer.json())
    assert found.audio is not None
    assert found.audio.split is not None
    assert all(channel.estimated for channel in found.audio.channels)
    schema = client.get("/openapi.json").json()["paths"]["/v1/analyze"]["post"]
    assert "split_speakers" in str(schema["requestBody"])
    plain = post(client, **CUSTOMER).json()["audio"]
    assert "split" not in plain


def test_staff_may_be_on_the_channel(client: TestClient) -> None:
    for names in ({}, {"channel_names": "line"}):
        answer = post(client, split_speakers="auto", **names)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert post(client, channel_names="line").status_code == 200
    require_lawful_split(1, None, None, "safety")
    require_lawful_split(2, ["agent", "customer"], None, None)
    with pytest.raises(RefusedError, match="nobody on it is at work"):
        require_lawful_split(2, ["agent", "customer"], [1], None)


@pytest.mark.parametrize("said", ["1", "10", "two", "", "2\n3", "9" * 1000])
def test_what_is_no_number_of_speakers(client: TestClient, said: str) -> None:
    answer = post(client, split_speakers=said, **CUSTOMER)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    message = answer.json()["message"]
    assert message.startswith("split_speakers: ")
    assert "\n" not in message
    assert len(message) < 200


def test_limits(predictor: Predictor, tmp_path: Path) -> None:
    words: dict[str, Any] = {"name": "a.wav", "analyse": None, "seconds": 9.0, "channels": 8}
    two = tmp_path / "two.wav"
    soundfile.write(two, np.zeros((16_000, 2)), 16_000)
    wanted = Wanted(**words, names=None, staff_reason="safety", split="2")
    with pytest.raises(UsageError, match="2 channels would be analysed"):
        analysed(str(two), wanted, predictor, lambda said: None)
    long = tmp_path / "a.wav"
    long.write_bytes(mono())
    with pytest.raises((AudioError, RefusedError), match="longer than 9 s"):
        analysed(str(long), wanted, predictor, lambda said: None)
    assert Wanted.from_json(wanted.to_json()) == wanted
