"""Recordings, texts and lists of calls over HTTP, from a real server."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.client.conftest import RATE
from tests.client.serving import Running

import voicetone
from voicetone.client import ConnectionLostError, ServerError, Stream, analyze, calls, delete
from voicetone.errors import AudioError, UsageError
from voicetone.inference.split_file import Splitting, default_encoder
from voicetone.pretrained.predictor import Predictor


def test_a_recording_has_the_numbers_of_the_command(
    server: Running, recording: Path, predictor: Predictor
) -> None:
    found = analyze(server.url, recording, consent=True, channel_names=["agent", "customer"])
    assert found.audio is not None
    wanted = voicetone.analyze(recording, predictor, names=["agent", "customer"])
    assert {**found.audio.to_dict(), "file": ""} == {**wanted.to_dict(), "file": ""}
    assert [c.channel for c in found.audio.channels] == [2]
    assert found.text is None


def test_a_channel_is_split_as_by_the_command(
    server: Running, tmp_path: Path, predictor: Predictor
) -> None:
    rng = np.random.default_rng(0)
    turns = np.repeat([0.1, 0.0, 0.1, 0.0], 3 * 16000) * rng.standard_normal(12 * 16000)
    path = tmp_path / "one.wav"
    soundfile.write(path, turns, 16000)
    found = analyze(
        server.url, path, consent=True, channel_names=["customer"], split_speakers=2
    ).audio
    wanted = voicetone.analyze(path, predictor, split=Splitting(2, default_encoder()))
    assert found is not None
    assert {**found.to_dict(), "file": ""} == {**wanted.to_dict(), "file": ""}
    assert [c.estimated for c in found.channels] == [True] * len(found.channels)


def test_a_text(server: Running) -> None:
    pytest.importorskip("vaderSentiment")
    found = analyze(server.url, text="I am very happy with this, thank you!")
    assert found.audio is None
    assert found.text is not None
    assert found.text.label == "positive"


def test_what_is_wrong_with_a_recording_is_said(
    server: Running, recording: Path, tmp_path: Path
) -> None:
    with pytest.raises(ServerError) as caught:
        analyze(server.url, recording)
    assert (caught.value.code, caught.value.status) == ("consent_required", 403)
    with pytest.raises(AudioError, match=r"none\.wav: can't be opened"):
        analyze(server.url, tmp_path / "none.wav", consent=True)
    rubbish = tmp_path / 'a "name"\n.wav'
    rubbish.write_bytes(b"rubbish" * 100)
    with pytest.raises(ServerError) as caught:
        analyze(server.url, rubbish, consent=True)
    assert caught.value.code == "unsupported_media"
    with pytest.raises(UsageError, match="nothing to analyse"):
        analyze(server.url)


def test_calls_in_progress(server: Running) -> None:
    with Stream.open(server.url, sample_rate=RATE, consent=True, call="mine", queue="a b") as call:
        (found,) = calls(server.url, queue="a b")
        assert (found["id"], found["external"]) == (call.created.call, "mine")
        assert calls(server.url, queue="other") == []
        with pytest.raises(ServerError) as caught:
            delete(server.url, call.created.call)
        assert caught.value.code == "conflict"
    with pytest.raises(ServerError) as caught:
        delete(server.url, "no such/../call")
    assert caught.value.code == "not_found"


@contextmanager
def answering(answers: list[tuple[int, bytes]]) -> Iterator[tuple[str, list[str]]]:
    """A server that gives these answers, and what it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            self.rfile.read(length)
            asked.append(f"{self.command} {self.path}")
            status, body = answers.pop(0)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Retry-After", "7")
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{other.server_port}/below/", asked
        finally:
            other.shutdown()


def test_a_long_recording_is_waited_for(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicetone.client.http.POLL_SECONDS", 0.0)

    def job(state: str, **more: object) -> bytes:
        return json.dumps({"id": "0-a", "state": state, **more}).encode()

    text = {"label": None, "sentiment": None, "source": "vader", "problem": "empty"}
    done = job("done", result={"audio": None, "text": text}, error=None)
    failed = job("failed", result=None, error={"code": "unsupported_media", "message": "broken"})
    answers = [(202, job("queued")), (200, job("running")), (200, done), (204, b"")]
    with answering(answers) as (url, asked):
        found = analyze(url, recording, consent=True)
        assert found.text is not None
        assert found.text.problem == "empty"
        job_path = "/below/v1/jobs/0-a"
        assert asked == ["POST /below/v1/analyze", *[f"GET {job_path}"] * 2, f"DELETE {job_path}"]
    with (
        answering([(202, job("queued")), (200, failed), (204, b"")]) as (url, _),
        pytest.raises(ServerError, match="broken"),
    ):
        analyze(url, recording, consent=True)
    with (
        answering([(202, job("queued"))] + [(200, job("running"))] * 9) as (url, _),
        pytest.raises(ConnectionLostError, match="not analysed after"),
    ):
        analyze(url, recording, consent=True, patience=-1.0)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"calls": 1}', b"[" * 100_000])
def test_another_server_is_noticed(body: bytes) -> None:
    with answering([(200, body)]) as (url, _), pytest.raises(ServerError, match="check the addr"):
        calls(url)


def test_a_proxy_in_between_that_is_busy() -> None:
    with answering([(503, b"busy")]) as (url, _), pytest.raises(ServerError) as caught:
        calls(url)
    assert (caught.value.retry_after, caught.value.status) == (7.0, 503)
    with pytest.raises(ConnectionLostError, match="is it running there"):
        calls("http://127.0.0.1:9")
