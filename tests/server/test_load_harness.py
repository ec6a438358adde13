"""The load harness measures what it says, in small."""

from __future__ import annotations

import asyncio
import json
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.server.serving import quiet_settings, serving
from tests.toy import make_toy_bundle

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "live"))

import figures
import load
import page
import parts
import run
import wire

from voicetone.pretrained import load as load_model
from voicetone.server.store import StoreSettings

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_two_routes_are_measured(tmp_path: Path) -> None:
    """Calls in real time over sockets: no window is missing, and each has a lag."""
    predictor = load_model(make_toy_bundle(tmp_path / "toy"))
    path = tmp_path / "calls.db"
    settings = quiet_settings(store=StoreSettings(url=f"sqlite:///{path}"))
    plans = [load.Plan(route, 2, 5.0, 0.2) for route in ("native", "twilio")]
    with serving(predictor, settings) as (_, port):

        async def both() -> list[load.Load]:
            return await asyncio.gather(*(load.run(port, plan) for plan in plans))

        native, twilio = asyncio.run(both())
        figures.from_store(twilio, path)
    for found in (native, twilio):
        row = figures.row(found)
        wrong = ("dropped", "doubled", "gaps", "errors", "unfinished")
        assert {key: row[key] for key in wrong} == dict.fromkeys(wrong, 0)
        assert row["windows"] == 2
        frames = 50 if found.plan.route == "native" else 250
        assert [len(call.sent) for call in found.calls] == [frames, frames]
        seen, told = figures.lags(found, end=float("inf"))
        assert all(-0.002 < lag < 20 for lag in seen)
        assert len(seen) == len(told)
        for call in found.calls:
            assert call.came[5.0] > call.sent[-1]
    assert {call.id for call in native.calls}.isdisjoint({None})


def test_lags_are_from_the_last_samples_sending() -> None:
    """Two calls whose windows came after known times; one window never came."""
    plan = load.Plan("native", 2, 10.0, 1.0)
    calls = [load.Spoken(n, 100.0 + n) for n in range(2)]
    for call in calls:
        call.sent = array("d", [call.due + 0.6 + 0.1 * n for n in range(100)])
        for end in plan.ends[: 3 - call.number]:
            # The frame with the last sample of 5 s is the fiftieth.
            last = call.sent[round(end * 10) - 1]
            call.told({"type": "window", "end": end, "lag_ms": 100.0}, last + 0.2)
        call.told({"type": "session.closed"}, 0.0)
    whole = (calls[1].due + 0.5, calls[0].due + 0.5 + 10.0)
    found = load.Load(plan, calls, 0.001, whole, 0.0)
    assert plan.ends == [5.0, 7.5, 10.0]
    row = figures.row(found)
    assert (row["windows"], row["dropped"]) == (6, 1)
    assert row["lag_ms"] == {"p50": 200.0, "p99": 200.0, "max": 200.0}
    assert row["server_lag_ms"]["max"] == 100.0
    # From when the second begins to when the first has no more to say: all five.
    assert len(figures.lags(found)[0]) == 5
    assert len(figures.lags(found, start=calls[0].sent[60])[0]) == 3
    calls[0].told({"type": "window", "end": 5.0, "lag_ms": 1.0}, 200.0)
    assert figures.row(found)["doubled"] == 1


def test_frames_are_those_of_the_protocol() -> None:
    """As the RFC has them, and as a ready-made library reads them."""
    assert wire.frame(wire.TEXT, b"Hello").hex() == "818537fa213d7f9f4d5158"
    from websockets.frames import Frame
    from websockets.streams import StreamReader

    for size in (0, 125, 126, 65_535, 65_536):
        reader = StreamReader()
        payload = (bytes(range(256)) * (size // 256 + 1))[:size]
        reader.feed_data(wire.frame(wire.BINARY, payload))
        steps = Frame.parse(reader.read_exact, mask=True)
        with pytest.raises(StopIteration) as done:
            next(steps)
        assert done.value.value.data == payload


def row(calls: int, p99: float, **changes: Any) -> dict[str, Any]:
    lag = {"p50": 120.0, "p99": p99, "max": p99 + 1}
    wrong = dict.fromkeys(("dropped", "doubled", "gaps", "errors", "unfinished", "defects"), 0)
    use = {"server_cpu": 0.5, "load_cpu": 0.1, "other_cpu": 0.01, "memory_mb": 150.0}
    return {"calls": calls, "lag_ms": lag, "server_lag_ms": lag, "load_late_ms": 1.0} | {
        **wrong,
        **use,
        **changes,
    }


def test_the_page_says_what_was_found() -> None:
    found = {
        "command": "python x",
        "machine": "2 cores",
        "sizes": {"model": "tone-small", "seconds": 30.0, "ramp": 5.0},
        "parts": {
            "native": {
                "date": "2026-11-21",
                "rows": [
                    row(50, 150.0),
                    row(100, 420.0),
                    row(150, 480.0, dropped=2),
                    row(200, 3000.0, other_cpu=0.4),
                ],
            }
        },
    }
    said = page.page(found)
    assert (
        "| channels on one core with p99 ≤ 500 ms, Binary frames of 100 ms | 100 | ≥ 100 |" in said
    )
    assert "| 100 | 120 | 420 | 421 | 420 | 0 | 50% | 150 | 1% | 1 |" in said
    assert "| 40% (!) |" in said
    assert "Twilio's JSON" not in said


def test_what_was_measured_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it was broken off between two rows."""
    ran: list[int] = []

    def part(sizes: parts.Sizes, done: int) -> Iterator[dict[str, Any]]:
        for calls in sizes.calls[done:]:
            ran.append(calls)
            if len(ran) == 2:
                raise KeyboardInterrupt
            yield row(calls, 100.0)

    monkeypatch.setattr(run, "PARTS", {"native": part})
    sizes = parts.Sizes(calls=(1, 2, 3))
    with pytest.raises(KeyboardInterrupt):
        run.measure(tmp_path, ["native"], sizes, again=False)
    run.measure(tmp_path, ["native"], sizes, again=False)
    assert ran == [1, 2, 2, 3]
    run.measure(tmp_path, ["native"], sizes, again=False)
    assert ran == [1, 2, 2, 3]
    found = json.loads((tmp_path / "live.json").read_text("utf-8"))
    assert [one["calls"] for one in found["parts"]["native"]["rows"]] == [1, 2, 3]
    assert (tmp_path / "live.md").read_text("utf-8") == page.page(found)
    run.measure(tmp_path, ["native"], parts.Sizes(calls=(5,)), again=False)
    assert ran[4:] == [5]  # other sizes: nothing of before counts


def test_trials_are_not_published() -> None:
    with pytest.raises(SystemExit):
        run.main(["--tiny"])
    with pytest.raises(SystemExit):
        run.main(["nothing"])


def test_the_published_page_is_what_the_figures_give() -> None:
    results = ROOT / "docs" / "results"
    if not (results / "live.json").exists():
        pytest.skip("nothing has been measured yet")
    found = json.loads((results / "live.json").read_text("utf-8"))
    assert (results / "live.md").read_text("utf-8") == page.page(found)
