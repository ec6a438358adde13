"""Figures, readiness, logs."""

from __future__ import annotations

import io
import json
import logging
import time
import urllib.request
from urllib.error import HTTPError

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.server.serving import START, Client, quiet_settings, serving, speech

from voicetone.pretrained.predictor import Predictor
from voicetone.server.clock import SystemClock
from voicetone.server.events import CallEvent
from voicetone.server.logs import Lines, Log
from voicetone.server.metrics import merged, reference


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return str(answer.read().decode())


def figures(page: str) -> dict[tuple[str, ...], float]:
    found = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            labels = tuple(v for k, v in sorted(sample.labels.items()) if k != "worker")
            found[(sample.name, *labels)] = sample.value
    return found


def test_figures_follow_the_calls(predictor: Predictor, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(predictor, quiet_settings()) as (_, port):
        client = Client(port, {**START, "call": "+44 20 7946 0000"})
        client.audio(speech(10.5))
        client.send(b"\0")
        for _ in range(3):
            client.until("window")
        now = figures(get(port, "/metrics"))
        assert now[("voicetone_calls",)] == 1
        assert now[("voicetone_channels",)] == 1
        assert now[("voicetone_window_lag_seconds_count",)] == 3
        assert now[("voicetone_events_total", "window")] == 3
        assert now[("voicetone_calls_begun_total", "native")] == 1
        assert now[("voicetone_messages_refused_total", "invalid_audio_frame")] == 1
        # Noise of 0.05 to 0.25: its level lies between -26 and -12 dB.
        assert now[("voicetone_input_level_dbfs_bucket", "-30.0")] == 0
        assert now[("voicetone_input_level_dbfs_bucket", "-10.0")] >= 1
        means = [now[("voicetone_score_mean", s)] for s in ("positive", "neutral", "negative")]
        assert sum(means) == pytest.approx(1.0, abs=1e-3)
        client.finish()
        after = figures(get(port, "/metrics"))
        assert after[("voicetone_calls",)] == 0
        assert after[("voicetone_calls_ended_total", "client")] == 1
    logged = capsys.readouterr().err
    assert "session.created" in logged
    assert "7946" not in logged


def test_ready_until_it_goes_down(predictor: Predictor) -> None:
    with serving(predictor) as (state, port):
        assert json.loads(get(port, "/readyz"))["ready"] is True
        state.hub.draining = True
        with pytest.raises(HTTPError) as error:
            get(port, "/readyz")
        with error.value:
            assert error.value.code == 503
            assert json.loads(error.value.read())["draining"] is True
        assert json.loads(get(port, "/healthz")) == {"status": "ok"}


def test_alive_until_the_model_is_run_no_more(predictor: Predictor) -> None:
    with serving(predictor) as (state, port):
        assert json.loads(get(port, "/healthz")) == {"status": "ok"}
        task = state.hub.engine._task
        assert task is not None
        task.get_loop().call_soon_threadsafe(task.cancel)
        while not task.done():
            time.sleep(0.01)
        with pytest.raises(HTTPError) as error:
            get(port, "/healthz")
        with error.value:  # it holds the connection
            assert error.value.code == 500


class Full(io.StringIO):
    """A log whose disk is full, or whose reader is gone."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_log_that_takes_nothing_ends_no_call(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = io.StringIO()
    closed.close()
    for out in (Full(), closed):
        log = Log(SystemClock(), 1, b"secret", out)
        log.say("odd")
        log.defect("here", ValueError("inside"))
    with serving(predictor) as (_, port):
        monkeypatch.setattr("sys.stderr", Full())
        client = Client(port, START)
        client.audio(speech(6.0))
        client.until("window")
        assert client.finish()["duration"] == 6.0


def test_a_page_of_all_workers_has_each_family_once() -> None:
    pages = [
        f'# HELP a_total A\n# TYPE a_total counter\na_total{{worker="{n}"}} {n}\n'
        f'# HELP b B\n# TYPE b gauge\nb{{worker="{n}"}} {n}\n'
        for n in (0, 1)
    ]
    assert merged(pages).splitlines() == [
        "# HELP a_total A",
        "# TYPE a_total counter",
        'a_total{worker="0"} 0',
        'a_total{worker="1"} 1',
        "# HELP b B",
        "# TYPE b gauge",
        'b{worker="0"} 0',
        'b{worker="1"} 1',
    ]


def test_a_bundle_may_say_what_scores_to_expect() -> None:
    assert reference({"mean score, negative": 0.2, "UAR": "0.8", "mean score, x": "y"}) == {
        "negative": 0.2
    }


def test_logs_are_lines_without_what_is_not_theirs() -> None:
    out = io.StringIO()
    log = Log(SystemClock(), 1, b"secret", out)
    body = {"external": "CA123", "route": "twilio", "metadata": {"name": "Jane"}}
    log.told(CallEvent("id", 1, 0.0, "session.created", None, body))
    log.told(CallEvent("id", 2, 0.0, "window", 1, {"sentiment": {"negative": 1.0}}))
    log.told(CallEvent("id", 3, 0.0, "gap", None, {"start": 1.0, "end": 3.5, "reason": "overload"}))
    log.say("odd", text="a\nb" + "x" * 10_000)
    try:
        raise ValueError("inside")
    except ValueError as error:
        log.defect("here", error)
    logging.getLogger("test.lines").addHandler(Lines(log))
    logging.getLogger("test.lines").error("said %s", "so")
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["event"] for line in lines] == [
        "session.created",
        "gap",
        "odd",
        "defect",
        "log",
    ]
    assert all(line["worker"] == 1 and line["time"].endswith("Z") for line in lines)
    assert "CA123" not in out.getvalue()
    assert "Jane" not in out.getvalue()
    assert lines[0]["external"] == log.short("CA123") != log.short("CA124")
    assert lines[1]["seconds"] == 2.5
    assert len(lines[2]["text"]) == 500
    assert any("inside" in line for line in lines[3]["trace"])
    assert lines[4]["message"] == "said so"
