"""Recordings and texts over HTTP, and the processes that analyse them."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given
from hypothesis import settings as trials
from hypothesis import strategies as st
from pydantic import TypeAdapter
from starlette.testclient import TestClient

from server.served import WAV, YES, entry, key, listening
from voicetone.inference.file import analyze
from voicetone.inference.live import LiveSession, WindowEvent
from voicetone.language.vader import VaderLabeller
from voicetone.pretrained.predictor import Predictor
from voicetone.server.analysis import NICE, Wanted
from voicetone.server.app import make_app, make_state
from voicetone.server.hub import Limits
from voicetone.server.jobs import FileSettings, Process, _environment
from voicetone.server.refusal import RefusedError
from voicetone.server.routes_files import AnalyzeOut, JobOut, jobs_of
from voicetone.server.settings import Settings
from voicetone.server.state import ServerState
from voicetone.server.store import StoreSettings


@contextmanager
def serving(
    bundle: Path, predictor: Predictor, *, limits: Limits | None = None, **files: Any
) -> Iterator[tuple[TestClient, ServerState]]:
    keys = (entry("desk"), entry("other", consent=True), entry("pages", scopes=("read",)))
    words = Settings(
        store=StoreSettings(url=""),
        keys=keys,
        model=str(bundle),
        limits=limits or Limits(),
        files=FileSettings(**files),
    )
    state = make_state(words, predictor)
    with TestClient(make_app(state), headers=key("desk")) as client:
        yield client, state


@pytest.fixture(scope="module")
def client(bundle: Path, predictor: Predictor) -> Iterator[TestClient]:
    with serving(bundle, predictor) as (client, _):
        yield client


def recording(
    seconds: float = 11.3, channels: int = 1, kind: str = "WAV", rate: int = 8000
) -> bytes:
    rng = np.random.default_rng(11)
    samples = 0.1 * rng.standard_normal((round(seconds * rate), channels))
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=kind)
    return out.getvalue()


def post(client: TestClient, data: bytes, **query: str) -> Any:
    return client.post("/v1/analyze", content=data, headers=WAV, params={**YES, **query})


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_the_same_numbers_as_the_command_line(
    client: TestClient, predictor: Predictor, tmp_path: Path, kind: str
) -> None:
    data = recording(channels=2, kind=kind)
    path = tmp_path / "call"
    path.write_bytes(data)
    expected = {
        **analyze(path, predictor, names=["caller 1", "caller 2"]).to_dict(),
        "file": "mine",
    }
    raw = post(client, data, name="mine", channel_names="caller 1,caller 2")
    assert raw.status_code == 200
    assert raw.json() == {"audio": expected, "text": None}
    form = client.post(
        "/v1/analyze",
        files={"audio": ("a/../mine", data)},
        data={**YES, "channel_names": "caller 1,caller 2"},
    )
    assert form.json() == raw.json()
    AnalyzeOut.model_validate(raw.json(), extra="forbid")


def test_the_same_numbers_as_live(client: TestClient, predictor: Predictor) -> None:
    data = recording()
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    session = LiveSession(predictor, rate)
    events = []
    for at in range(0, len(samples), 160):
        events += session.push(samples[None, at : at + 160])
    events += session.close()
    live = [event.window.to_dict() for event in events if isinstance(event, WindowEvent)]
    (channel,) = post(client, data).json()["audio"]["channels"]
    assert len(live) == len(channel["windows"]) == 4
    for got, want in zip(channel["windows"], live, strict=True):
        assert (got["start"], got["end"]) == (want["start"], want["end"])
        # Both are rounded to 1e-4, which may tip one last digit.
        assert got["sentiment"] == pytest.approx(want["sentiment"], abs=1.01e-4)
    overall = session.overall(1).to_dict()["sentiment"]
    assert channel["overall"]["sentiment"] == pytest.approx(overall, abs=1.01e-4)


def test_texts_alone_and_with_a_recording(client: TestClient) -> None:
    text = "I am very happy with this, thank you!"
    (opinion,) = VaderLabeller().label([text], "en")
    assert opinion.scores is not None
    alone = client.post("/v1/analyze", json={"text": text, "language": "en-GB"})
    assert alone.status_code == 200
    said = alone.json()["text"]
    assert alone.json()["audio"] is None
    assert said["label"] == "positive"
    assert said["sentiment"] == pytest.approx(dict(opinion.scores), abs=1e-4)
    assert said["source"].startswith("vader ")
    files = {"audio": ("call.wav", recording(3.0))}
    both = client.post("/v1/analyze", files=files, data={**YES, "text": text}).json()
    assert both["text"] == said
    assert both["audio"]["file"] == "call.wav"
    form = client.post("/v1/analyze", files={"text": (None, text)})
    assert form.json() == alone.json()
    wordless = client.post("/v1/analyze", json={"text": " … "}).json()["text"]
    assert (wordless["label"], wordless["sentiment"]) == (None, None)
    assert wordless["problem"]


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


BAD: dict[str, tuple[Callable[[TestClient], Any], int, str, str]] = {
    "empty": (lambda c: post(c, b""), 400, "bad_request", "upload: empty, 0 bytes"),
    "not audio": (lambda c: post(c, b"\x89PNG" * 99), 415, "unsupported_media", "upload: no sound"),
    "a header only": (lambda c: post(c, recording(0.0)), 415, "unsupported_media", "no samples"),
    "truncated": (lambda c: post(c, cut(recording()), name="x.wav"), 415, "unsupported_media",
                  "x.wav: truncated"),
    "a rate": (lambda c: post(c, recording(rate=4000)), 415, "unsupported_media", "4000 Hz"),
    "too long": (lambda c: post(c, recording(31.0)), 413, "message_too_large", "longer than 30 s"),
    "too large": (lambda c: post(c, bytes(2_000_000)), 413, "message_too_large", "bytes"),
    "too large a form": (
        lambda c: c.post("/v1/analyze", files={"audio": bytes(1_900_000)}, data=YES),
        413, "message_too_large", "bytes"),
    "channels": (lambda c: post(c, recording(2.0, 3)), 415, "unsupported_media", "3 channels: 2"),
    "no consent": (lambda c: post(c, recording(), consent="false"), 403, "consent_required",
                   "consent"),
    "odd consent": (lambda c: post(c, recording(), consent="yes"), 400, "bad_request", "consent"),
    "names": (lambda c: post(c, recording(), channel_names="a,b"), 400, "bad_request",
              "2 channel names"),
    "names twice": (lambda c: post(c, recording(1.0, 2), channel_names="a,a"), 400,
                    "bad_request", "once"),
    "no such channel": (lambda c: post(c, recording(), analyse="2"), 400, "bad_request",
                        "no channel 2"),
    "no such name": (lambda c: post(c, recording(), analyse="x"), 400, "bad_request", "'x'"),
    "a form's body": (
        lambda c: c.post("/v1/analyze", content=b"x", params=YES,
                         headers={"Content-Type": "application/x-www-form-urlencoded"}),
        415, "unsupported_media", "audio/wav"),
    "no form": (
        lambda c: c.post("/v1/analyze", content=b"x",
                         headers={"Content-Type": "multipart/form-data; boundary=b"}),
        400, "bad_request", "form"),
    "nothing": (lambda c: c.post("/v1/analyze", files={"name": (None, "x")}), 400, "bad_request",
                "neither"),
    "another field": (lambda c: c.post("/v1/analyze", files={"model": (None, "/etc")}), 400,
                      "bad_request", "model"),
    "two files": (
        lambda c: c.post("/v1/analyze", files=[("audio", b"x"), ("audio", b"y")]), 400,
        "bad_request", "files"),
    "text too long": (lambda c: c.post("/v1/analyze", json={"text": "a " * 2501}), 413,
                      "message_too_large", "5000 characters"),
    "a huge body": (lambda c: c.post("/v1/analyze", json={"text": "a" * 50_000}), 413,
                    "message_too_large", "5000 characters"),
    "a language": (lambda c: c.post("/v1/analyze", json={"text": "ja", "language": "de"}), 415,
                   "unsupported_media", "English"),
    "no JSON": (lambda c: c.post("/v1/analyze", content=b"{", headers={"Content-Type":
                "application/json"}), 400, "bad_request", "JSON"),
    "deep JSON": (lambda c: c.post("/v1/analyze", content=b"[" * 30_000, headers={"Content-Type":
                  "application/json"}), 400, "bad_request", "JSON"),
    "another key": (lambda c: c.post("/v1/analyze", json={"text": "a", "model": "b"}), 400,
                    "bad_request", "model"),
    "no key": (lambda c: c.post("/v1/analyze", json={"text": "a"}, headers={"Authorization": ""}),
               401, "unauthorised", "key"),
    "another scope": (lambda c: c.post("/v1/analyze", json={"text": "a"}, headers=key("pages")),
                      403, "forbidden", "files"),
}  # fmt: skip


@pytest.fixture(scope="module")
def small(bundle: Path, predictor: Predictor) -> Iterator[TestClient]:
    words = {"seconds": 30.0, "channels": 2, "bytes": 800_000}
    with serving(bundle, predictor, **words) as (client, _):
        yield client


@pytest.mark.parametrize("name", BAD)
def test_each_kind_of_bad_input_is_told(small: TestClient, name: str) -> None:
    ask, status, code, word = BAD[name]
    answer = ask(small)
    said = answer.json()
    assert (answer.status_code, said["code"]) == (status, code), said
    assert word in said["message"]
    assert "\n" not in said["message"]
    assert "/dev/fd" not in said["message"]


def test_the_staffs_channel_is_left_out(bundle: Path, predictor: Predictor) -> None:
    data = recording(5.0, 2)
    named = {"channel_names": "agent,customer"}

    def channels(client: TestClient, **query: str) -> list[int]:
        found = post(client, data, **query).json()["audio"]["channels"]
        return [channel["channel"] for channel in found]

    with serving(bundle, predictor) as (client, _):
        answer = post(client, data)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
        assert channels(client, channel_names="caller 1,caller 2") == [1, 2]
        assert channels(client, **named) == [2]
        assert channels(client, **named, analyse="all") == [2]
        assert channels(client, **named, analyse="customer,1") == [2]
        answer = post(client, data, **named, analyse="agent")
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    with serving(bundle, predictor, limits=Limits(staff_reason="safety")) as (client, _):
        assert channels(client, **named) == [2]
        assert channels(client, **named, analyse="all") == [1, 2]
        assert channels(client, **named, analyse="agent") == [1]


def test_consent_of_the_credential_is_enough(client: TestClient) -> None:
    answer = client.post("/v1/analyze", content=recording(2.0), headers={**WAV, **key("other")})
    assert answer.status_code == 200
    assert answer.json()["audio"]["flags"] == []


def settled(client: TestClient, where: str) -> dict[str, Any]:
    for _ in range(4000):
        answer = client.get(where)
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        JobOut.model_validate(job, extra="forbid")
        if job["state"] in ("done", "failed"):
            return job
        time.sleep(0.02)
    raise AssertionError(job)


def test_a_job_from_start_to_end(client: TestClient, predictor: Predictor, tmp_path: Path) -> None:
    data = recording(7.0)
    answer = post(client, data, **{"async": "true"})
    assert answer.status_code == 202
    where = answer.headers["Location"]
    assert answer.json()["state"] in ("queued", "running")
    job = settled(client, where)
    assert (job["state"], job["progress"], job["error"]) == ("done", 1.0, None)
    path = tmp_path / "x"
    path.write_bytes(data)
    assert job["result"]["audio"] == {**analyze(path, predictor).to_dict(), "file": "upload"}
    assert client.get(where, headers=key("other")).status_code == 404
    assert client.delete(where).status_code == 204
    assert client.get(where).json()["code"] == "not_found"
    failed = post(client, b"no sound", **{"async": "true"})
    assert settled(client, failed.headers["Location"])["error"]["code"] == "unsupported_media"
    assert client.get("/v1/jobs/77-x").status_code == 404


def test_a_long_recording_becomes_a_job(bundle: Path, predictor: Predictor) -> None:
    with serving(bundle, predictor, sync_seconds=10.0, keep=1) as (client, state):
        assert post(client, recording(9.0)).status_code == 200
        assert jobs_of(state)._jobs == {}  # what was answered is not kept
        where = []
        for _ in range(2):
            answer = post(client, recording(60.0))
            assert answer.status_code == 202
            where.append(answer.headers["Location"])
            assert settled(client, where[-1])["result"]["audio"]["duration"] == 60.0
        assert client.get(where[0]).status_code == 404  # one result is kept


def test_results_are_kept_for_a_time(bundle: Path, predictor: Predictor) -> None:
    with serving(bundle, predictor, keep_seconds=1.0) as (client, state):
        answer = post(client, recording(2.0), **{"async": "true"})
        settled(client, answer.headers["Location"])
        time.sleep(1.2)
        assert jobs_of(state)._jobs == {}  # gone without anybody asking
        assert client.get(answer.headers["Location"]).status_code == 404


def test_more_than_can_wait_is_turned_away(bundle: Path, predictor: Predictor) -> None:
    with serving(bundle, predictor, workers=1, waiting=1) as (client, state):
        jobs = jobs_of(state)
        with jobs.place(), jobs.place():
            answer = post(client, recording(1.0))
            assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
            assert int(answer.headers["Retry-After"]) > 0
            assert client.post("/v1/analyze", json={"text": "good"}).status_code == 200
        assert post(client, recording(1.0)).status_code == 200
        assert post(client, b"").status_code == 400
        for _ in range(100):  # the process frees its place right after its answer
            if jobs.waiting == 0:
                break
            time.sleep(0.01)
        assert jobs.waiting == 0


def test_nothing_of_an_upload_has_a_name(
    bundle: Path, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with serving(bundle, predictor) as (client, _):
        one = post(client, recording(200.0), **{"async": "true"})
        files = {"audio": recording(200.0)}
        other = client.post("/v1/analyze", files=files, data={**YES, "async": "true"})
        assert list(tmp_path.iterdir()) == []
        for answer in (one, other):
            assert settled(client, answer.headers["Location"])["state"] == "done"
        assert list(tmp_path.iterdir()) == []


def wanted(**changes: Any) -> Wanted:
    words = {"name": "x", "names": None, "analyse": None, "staff_reason": None}
    return Wanted(**{**words, "seconds": 1e6, "channels": 2, **changes})


def with_process(bundle: Path, work: Callable[[Process, Callable[[bytes], Any]], Any]) -> None:
    async def run() -> None:
        process = Process(str(bundle))

        async def ask(data: bytes, tell: Any = lambda done, seconds: None) -> dict[str, Any]:
            with tempfile.TemporaryFile() as file:
                file.write(data)
                file.flush()
                return await process.ask(wanted(), file.fileno(), tell)

        try:
            async with asyncio.timeout(60):
                await work(process, ask)  # type: ignore[arg-type]
        finally:
            await process.stop()

    asyncio.run(run())


def test_a_process_that_dies_costs_one_recording(bundle: Path) -> None:
    async def work(process: Process, ask: Any) -> None:
        told: list[tuple[float, float | None]] = []

        def kill(done: float, seconds: float | None) -> None:
            told.append((done, seconds))
            assert process._process is not None
            if len(told) == 1:
                assert os.getpriority(os.PRIO_PROCESS, process._process.pid) >= min(NICE, 19)
                process._process.kill()

        with pytest.raises(RefusedError, match="x: the process that analysed it died"):
            await ask(recording(1500.0), kill)
        assert told[0] == (0.0, 1500.0)
        assert (await ask(recording(3.0)))["duration"] == 3.0
        first = process._process
        assert (await ask(recording(4.0)))["duration"] == 4.0
        assert process._process is first

    with_process(bundle, work)


def test_an_analysis_that_takes_too_long_is_broken_off(bundle: Path, predictor: Predictor) -> None:
    with serving(bundle, predictor, timeout=0.01) as (client, _):
        answer = post(client, recording(2.0))
        assert answer.status_code == 500
        assert "too long" in answer.json()["message"]


def test_a_job_that_is_dropped_frees_its_place(bundle: Path, predictor: Predictor) -> None:
    with serving(bundle, predictor) as (client, state):
        answer = post(client, recording(1500.0), **{"async": "true"})
        behind = post(client, recording(3.0), **{"async": "true"})
        assert client.delete(answer.headers["Location"]).status_code == 204
        assert settled(client, behind.headers["Location"])["state"] == "done"
        assert jobs_of(state).waiting <= 1


def test_a_process_gets_no_secret() -> None:
    given = {"PATH": "/bin", "DESK_SECRET": "x", "PYTHONPATH": "p", "AWS_SECRET_ACCESS_KEY": "y"}
    assert _environment(given) == {"PATH": "/bin", "PYTHONPATH": "p", "OMP_NUM_THREADS": "1"}


def test_the_interface_describes_itself(client: TestClient) -> None:
    paths = client.app.openapi()["paths"]  # type: ignore[attr-defined]
    operation = paths["/v1/analyze"]["post"]
    assert set(operation["requestBody"]["content"]) == {
        "multipart/form-data",
        "application/json",
        "audio/*",
    }
    assert {"200", "202", "400", "403", "413", "415", "429"} <= set(operation["responses"])
    assert "AnalyzeOut" in json.dumps(operation["responses"]["200"])
    assert not any(path.startswith("/internal") for path in paths)


def test_the_pages_examples(
    bundle: Path,
    predictor: Predictor,
    root: Path,
    example_call: Path,
    tmp_path: Path,
    needs_program: Callable[[str], Path],
) -> None:
    needs_program("curl")
    page = (root / "docs" / "server-files.md").read_text("utf-8")
    blocks = [part.partition("```")[0] for part in page.split("```bash\n")[1:]]
    assert len(blocks) == 2
    shutil.copy(example_call, tmp_path)
    words = tomllib.loads(page.partition("```toml\n")[2].partition("```")[0])
    settings = TypeAdapter(Settings).validate_python(
        {**words, "store": {"url": ""}, "model": str(bundle)}
    )
    assert settings.files == FileSettings()  # the page shows what holds by default
    settings = replace(settings, keys=(entry("desk"),))
    said, found = [], []
    with listening(make_state(settings, predictor)) as address:
        for block in blocks:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block.replace("127.0.0.1:8765", address)],
                cwd=tmp_path,
                env={**os.environ, "KEY": "key of desk"},
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            said.append(done.stdout)
    while said[0]:
        one, at = json.JSONDecoder().raw_decode(said[0])
        found, said[0] = [*found, one], said[0][at:]
    form, raw, text = found
    assert form == raw
    assert [channel["name"] for channel in form["audio"]["channels"]] == ["customer"]
    shown = json.loads(page.partition("```json\n")[2].partition("```")[0])
    assert set(text["text"]) == set(shown)
    assert text["text"]["label"] == "positive"
    assert json.loads(said[1])["state"] in ("queued", "running", "done")


@trials(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_upload_makes_it_stumble(small: TestClient, data: st.DataObject) -> None:
    good = recording(0.3, kind=data.draw(st.sampled_from(["WAV", "FLAC", "OGG", "MP3"])))
    at = data.draw(st.integers(0, min(len(good), 200) - 1))
    answer = post(small, good[:at] + data.draw(st.binary(max_size=40)) + good[at + 20 :])
    assert answer.status_code in (200, 400, 413, 415), answer.text


@trials(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=st.binary(max_size=300), kind=st.sampled_from(["multipart/form-data; boundary=b",
       "multipart/form-data", "application/json", "audio/wav", "x"]))  # fmt: skip
def test_no_body_makes_it_stumble(small: TestClient, body: bytes, kind: str) -> None:
    for sent in (body, b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\n' + body):
        answer = small.post("/v1/analyze", content=sent, headers={"Content-Type": kind})
        assert answer.status_code in (200, 400, 403, 413, 415), answer.text
