"""The examples in `examples/server/` against a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.client.serving import Running

from voicetone.inference.file import analyze
from voicetone.pretrained.predictor import Predictor

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "server"
RATE = 8000


@pytest.fixture(scope="module")
def mono(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 s on one channel."""
    sound = 0.1 * np.random.default_rng(9).standard_normal(12 * RATE)
    path = tmp_path_factory.mktemp("mono") / "mono.wav"
    soundfile.write(path, sound, RATE, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def raw(mono: Path) -> bytes:
    """Its samples without a header."""
    return soundfile.read(mono, dtype="int16")[0].astype("<i2").tobytes()


def test_stream_file(server: Running, mono: Path, predictor: Predictor) -> None:
    command = [sys.executable, str(EXAMPLES / "stream_file.py"), server.url, str(mono)]
    done = subprocess.run(
        [*command, "--consent", "--speed", "50"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    (channel,) = analyze(mono, predictor).channels
    lines = done.stdout.splitlines()
    assert lines[-1] == f"overall  channel 1  {channel.overall.label}"
    assert [line.split()[0] for line in lines[:-1]] == [f"{c.end:.1f}" for c in channel.current]


def test_javascript_in_node(
    server: Running,
    mono: Path,
    raw: bytes,
    predictor: Predictor,
    tmp_path: Path,
    needs_node: Path,
) -> None:
    file = tmp_path / "call.raw"
    file.write_bytes(raw)
    script = str(EXAMPLES / "client.js")
    done = subprocess.run(
        [str(needs_node), "--experimental-websocket", script, server.url, str(file), "50"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    (channel,) = analyze(mono, predictor).channels
    assert done.stdout.splitlines()[-1] == f"overall {channel.overall.label or 'null'}"
    assert len(done.stdout.splitlines()) == len(channel.current) + 1


@pytest.mark.browser
def test_javascript_in_a_browser(
    server: Running,
    mono: Path,
    raw: bytes,
    predictor: Predictor,
    needs_program: Callable[[str], Path],
) -> None:
    driver = pytest.importorskip("playwright.sync_api")
    chromium = needs_program("chromium")
    with driver.sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=str(chromium), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        page.goto(f"{server.url}/v1/notice")
        page.add_script_tag(content=(EXAMPLES / "client.js").read_text("utf-8"))
        found: dict[str, Any] = page.evaluate(
            """async (audio) => {
                const told = [];
                const answer = await fetch("/v1/tickets", { method: "POST" });
                const { ticket } = await answer.json();
                const overall = await stream(
                    location.origin, new Uint8Array(audio), (e) => told.push(e),
                    { ticket, speed: 50 });
                return { overall, told };
            }""",
            list(raw),
        )
        browser.close()
    (channel,) = analyze(mono, predictor).channels
    assert found["overall"] == json.loads(json.dumps(channel.overall.to_dict()))
    windows = [e for e in found["told"] if e["type"] == "window"]
    assert [w["sentiment"] for w in windows] == [w.to_dict()["sentiment"] for w in channel.windows]


def test_javascript_says_what_is_wrong(server: Running, tmp_path: Path, needs_node: Path) -> None:
    file = tmp_path / "odd.raw"
    file.write_bytes(b"\0" * 1601)
    script = str(EXAMPLES / "client.js")
    command = [str(needs_node), "--experimental-websocket", script, "http://127.0.0.1:9", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "can't be reached" in done.stderr
