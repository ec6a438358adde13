"""`voicetone live`: the same numbers as `analyze`, lines and pictures, microphones that lack."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from rich.console import Console
from tests.cli.conftest import ROOT, Run
from tests.client.serving import Running, serving

from voicetone import client
from voicetone.cli.live_board import QUIETEST, Board
from voicetone.cli.live_screen import chart, line, screen
from voicetone.inference import live
from voicetone.pretrained import load
from voicetone.server.settings import Settings
from voicetone.types import Current, Overall, Window

RATE = 8000
NAMES = ("agent", "customer")


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """21 s: the customer is silent from 8 to 14 s."""
    sound = 0.1 * np.random.default_rng(5).standard_normal((21 * RATE, 2))
    sound[8 * RATE : 14 * RATE, 1] = 0
    path = tmp_path_factory.mktemp("call") / "call.wav"
    soundfile.write(path, sound, RATE, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def server(toy: Path) -> Iterator[Running]:
    with serving(load(toy), Settings(model=str(toy))) as running:
        yield running


def numbers(out: str) -> list[tuple[float, str]]:
    """End and tone of each window's line."""
    found = []
    for text in out.splitlines():
        parts = text.split("  ")
        if "window" in text:
            end = text.split(" s  ")[0].strip()
            found.append((float(end), next(p for p in parts if p.startswith("window"))))
    return found


def test_lines_are_those_of_the_file(
    voicetone: Run, toy: Path, call: Path, server: Running
) -> None:
    options = ("--speed", 1000, "--plain", "--channel-names", "agent,customer")
    done = voicetone("live", "--file", call, "--model", toy, *options)
    assert done.code == 0, done.err
    whole = json.loads(
        voicetone("analyze", call, "--json", "-", "--channel-names", "agent,customer").out
    )
    (customer,) = whole["channels"]
    told = numbers(done.out)
    assert [end for end, _ in told] == [round(w["end"], 1) for w in customer["windows"]]
    for (_, words), window in zip(told, customer["windows"], strict=True):
        best = window["sentiment"] and f"{max(window['sentiment'].values()):.0%}"
        assert (best or "no speech") in words
    last = done.out.splitlines()[-1]
    assert last.startswith("overall  customer  ")
    assert f"{max(customer['overall']['sentiment'].values()):.0%}" in last
    assert last.endswith(" of 21.0 s")
    there = voicetone("live", "--file", call, "--server", server.url, "--consent", *options)
    assert there.code == 0, there.err
    assert there.out.splitlines()[-1] == last
    assert [end for end, _ in numbers(there.out)] == [end for end, _ in told]


def test_it_takes_as_long_as_was_spoken(voicetone: Run, toy: Path, call: Path) -> None:
    began = time.monotonic()
    voicetone("live", "--file", call, "--model", toy, "--speed", 20)
    assert 21 / 20 <= time.monotonic() - began < 5


def test_ctrl_c_ends_it_with_the_overall(toy: Path, call: Path) -> None:
    command = [sys.executable, "-m", "voicetone", "live", "--model", str(toy), "--file", str(call)]
    with subprocess.Popen(
        [*command, "--plain", "--speed", "2"], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as run:
        assert run.stdout is not None
        first = run.stdout.readline()
        run.send_signal(signal.SIGINT)
        rest = run.stdout.read()
    assert run.returncode == 0
    assert "window" in first
    assert rest.splitlines()[-1].startswith("overall  channel 2")
    assert not rest.splitlines()[-1].endswith(" 21.0 s")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--server", "http://127.0.0.1:9"), 2, "--server needs --consent"),
        (("--server", "http://127.0.0.1:9", "--consent"), 3, "is it running there"),
        (("--server", "x", "--model", "y"), 2, "give one"),
        (("--device", "1"), 2, "give one of them"),
        (("--analyse", "agent"), 2, "--channel-names"),
        (("--channel-names", "a,b,c"), 2, "3 channel names for 2 channels"),
    ],
)
def test_what_can_not_be(
    voicetone: Run, call: Path, toy: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    model = () if "--server" in words else ("--model", toy)
    done = voicetone("live", "--file", call, "--speed", 1000, *words, *model)
    assert done.code == code
    (error,) = done.errors
    assert said in error


def test_a_file_that_is_not_there(voicetone: Run) -> None:
    done = voicetone("live", "--file", "none.wav")
    assert done.code == 3
    assert "no such file" in done.err


class Microphone:
    """A stand-in for sounddevice: 12 s of noise as quickly as it is taken, then Ctrl-C."""

    class PortAudioError(Exception):
        pass

    def __init__(self, rates: tuple[int, ...] = (16_000, 44_100), there: bool = True) -> None:
        self.rates, self.there, self.seconds, self.opened = rates, there, 12, 0

    def query_devices(self, device: object, kind: str) -> dict[str, Any]:
        if not self.there:
            raise self.PortAudioError("Error querying device -1")
        return {"name": "a microphone", "default_samplerate": 44_100.0}

    def check_input_settings(self, samplerate: int, **_: object) -> None:
        if samplerate not in self.rates:
            raise self.PortAudioError("Invalid sample rate")

    @contextmanager
    def InputStream(  # noqa: N802
        self, rate: int, block: int, device: object, callback: Any, **_: object
    ) -> Iterator[None]:
        self.opened = rate

        def speak() -> None:
            rng = np.random.default_rng(1)
            for _ in range(self.seconds * 10):
                sound = (0.1 * rng.standard_normal((block, 1))).astype(np.float32)
                callback(sound, block, None, None)
            time.sleep(1.0)
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=speak)
        thread.start()
        yield
        thread.join()


@pytest.mark.parametrize(("rates", "rate"), [((16_000,), 16_000), ((44_100,), 44_100)])
def test_a_microphone(
    voicetone: Run, toy: Path, monkeypatch: pytest.MonkeyPatch, rates: tuple[int, ...], rate: int
) -> None:
    stand_in = Microphone(rates)
    monkeypatch.setitem(sys.modules, "sounddevice", stand_in)  # type: ignore[arg-type]
    done = voicetone("live", "--model", toy)
    assert done.code == 0, done.err
    assert stand_in.opened == rate
    assert [end for end, _ in numbers(done.out)] == [5.0, 7.5, 10.0, 12.0]
    assert done.out.splitlines()[-1].endswith("of 12.0 s")


def test_a_microphone_that_is_not_kept_up_with(
    voicetone: Run, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voicetone.cli.live_sources.WAITING", 50)
    monkeypatch.setitem(sys.modules, "sounddevice", Microphone())  # type: ignore[arg-type]
    done = voicetone("live", "--model", toy)
    assert "s of sound were lost" in done.out
    assert done.out.splitlines()[-1].endswith("of 12.0 s")  # silence stands for them


def test_no_microphone_is_one_line(voicetone: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", Microphone(there=False))  # type: ignore[arg-type]
    done = voicetone("live")
    assert done.code == 3
    assert "Error querying device -1" in done.err
    assert "--file" in done.err
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    done = voicetone("live")
    assert done.code == 4
    assert "voicetone[microphone]" in done.err

    class Lacking(types.ModuleType):
        pass

    def no_library(name: str, *rest: object, **more: object) -> object:
        if name == "sounddevice":
            raise OSError("PortAudio library not found")
        return before(name, *rest, **more)

    before = __import__
    monkeypatch.delitem(sys.modules, "sounddevice")
    monkeypatch.setattr("builtins.__import__", no_library)
    done = voicetone("live")
    assert done.code == 3
    assert "libportaudio2" in done.err


# -- the picture ---------------------------------------------------------------------------------


def window(end: float, positive: float | None, speech: float = 2.5) -> Window:
    rest = None if positive is None else (1 - positive) / 4
    scores = (
        None if positive is None or rest is None
        else {"positive": positive, "neutral": rest, "negative": 3 * rest}
    )  # fmt: skip
    return Window(end - 5, end, scores is not None, speech, scores, None)


def board(windows: int = 30, duration: float | None = None) -> Board:
    shown = Board("call.wav", "toy 0.1.0", (1, 2), NAMES, 0.5, duration)
    rng = np.random.default_rng(2)
    for i in range(windows):
        for channel in (1, 2):
            shown.of_session(live.WindowEvent(channel, window(5 + 2.5 * i, float(rng.uniform()))))
    scores = {"positive": 0.2, "neutral": 0.2, "negative": 0.6}
    shown.of_session(live.CurrentEvent(2, Current(80.0, "negative", scores, None)))
    shown.channels[2].overall = Overall(70.0, None, 0.45, {**scores, "negative": 0.45}, None)
    shown.of_session(live.SpeechStartEvent(2, 70.0))
    shown.heard(np.full((2, 800), 0.1, dtype=np.float32), RATE)
    return shown


def drawn(shown: Board, width: int, height: int, colour: bool = False) -> list[str]:
    out = io.StringIO()
    console = Console(
        file=out, width=width, height=height, force_terminal=colour, highlight=False, markup=False
    )
    console.print(screen(shown, console))
    return out.getvalue().splitlines()


@pytest.mark.parametrize(("width", "height"), [(60, 12), (80, 24), (80, 50), (160, 50), (30, 8)])
def test_the_picture_fits_the_terminal(width: int, height: int) -> None:
    shown = board(400, duration=1000.0)
    for number in range(9):
        shown.note(f"alert {number}: " + "long " * 50)
    lines = drawn(shown, width, height)
    assert max(map(len, lines)) <= width
    if width >= 60 and height >= 24:
        assert len(lines) <= height


@pytest.mark.parametrize("width", [80, 160])
def test_the_picture_tells_without_colours(width: int) -> None:
    text = "\n".join(drawn(board(), width, 40))
    for word in (
        "channel 2  customer", "negative 60%", "not sure (negative 45%)", "speaking", "quiet",
        "no speech", "positive ┤", " neutral ┤", "negative ┤", "ago", "now", "█", "▮", "Ctrl-C",
    ):  # fmt: skip
        assert word in text, word


def test_the_line_is_high_where_the_tone_is_positive() -> None:
    windows = [window(5, 0.99), window(7.5, 0.01), window(10, None), window(12.5, 0.45)]
    rows = chart(windows, 6, sure_from=0.5)
    assert len(rows) == 7
    assert rows[0] == "  +   "
    assert rows[5] == "   -  "
    assert rows[3] == "    .?"
    newest = chart([window(5 + 2.5 * i, 0.99 if i == 99 else None) for i in range(100)], 10, 0.0)
    assert newest[0] == " " * 9 + "+"


def test_the_meter_follows_the_sound_and_falls_slowly() -> None:
    shown = Board("x", "toy", (1,), None)
    channel = shown.channels[1]
    assert channel.level == QUIETEST
    shown.heard(np.full((1, 800), 0.5, dtype=np.float32), RATE)
    assert channel.level == pytest.approx(-6.02, abs=0.01)
    shown.heard(np.zeros((1, 800), dtype=np.float32), RATE)
    assert channel.level == pytest.approx(-9.02, abs=0.01)
    for _ in range(40):
        shown.heard(np.zeros((1, 800), dtype=np.float32), RATE)
    assert channel.level == QUIETEST
    assert shown.seconds == pytest.approx(4.2)


def test_what_a_server_tells_is_shown() -> None:
    shown = Board("x", "toy", (2,), NAMES)
    head: dict[str, Any] = {"call": "c", "seq": 1, "time": "t"}
    lines: list[str] = []
    shown.on_window = lambda channel: lines.append(line(channel, shown))
    shown.of_server(client.Gap(start=60.0, end=64.0, reason="overload", **head))
    shown.of_server(client.Alert(rule="angry", channel=2, **head))
    shown.of_server(client.Problem(code="idle_timeout", message="no audio", fatal=True))
    shown.of_server(client.Missed(first=3, last=5))
    assert list(shown.notes) == [
        "gap 1:00 to 1:04, not analysed: overload",
        "alert angry: customer",
        "error idle_timeout: no audio",
        "events 3 to 5 were missed while the connection was cut",
    ]
    scores = {"positive": 0.1, "neutral": 0.8, "negative": 0.1}
    tone = Current(5.0, "neutral", scores, None)
    overall = Overall(4.0, "neutral", 0.8, scores, None)
    shown.of_server(client.WindowTone(channel=2, window=window(5.0, 0.9), **head))
    assert lines == []  # its averages come next
    shown.of_server(client.Tone(channel=2, end=5.0, current=tone, overall=overall, **head))
    shown.of_server(client.WindowTone(channel=2, window=window(7.5, None), **head))
    assert [text.split("  ")[-1] for text in lines] == ["overall neutral 80%"] * 2
    end = client.ChannelEnd(channel=2, flags=(), overall=overall)
    shown.of_server(client.Closed(reason="idle_timeout", duration=9.0, channels=(end,), **head))
    assert shown.ended == "idle_timeout"
    assert "ended: idle_timeout" in "\n".join(drawn(shown, 80, 24))
