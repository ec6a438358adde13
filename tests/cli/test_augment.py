"""`voicetone augment`: files that say what they are, the same for a seed, and a page that plays."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.cli.conftest import Run, in_process, noise, write_audio

from voicetone.augment.draws import generator
from voicetone.augment.gain import louder
from voicetone.augment.heard import MAKERS, Library, heard, together
from voicetone.augment.noise import mixed
from voicetone.augment.pitch import shifted
from voicetone.augment.speed import at_rate
from voicetone.types import Waveform

FAST = "speed,pitch,noise,telephone,codec,gain,mask"


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    return write_audio(tmp_path / "in" / "speech.wav", noise(1.5, channels=2))


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A folder of noises that is one of responses, too."""
    place = tmp_path / "sounds"
    fading = np.exp(-np.arange(900) / 90)[:, None]
    write_audio(place / "a b.wav", noise(0.5, seed=3))
    write_audio(place / "c.wav", noise(900 / 8000, channels=2, seed=4) * fading)
    rows = ["file,label,kind", "a b.wav,dog/bark,measured", "c.wav,,measured"]
    (place / "manifest.csv").write_text("\n".join([*rows, "c.wav,,a filter"]) + "\n")
    return place


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def told(folder: Path) -> dict[str, dict[str, Any]]:
    """What a preview's list says, by change."""
    cards = json.loads((folder / "preview.json").read_text("utf-8"))["changes"]
    return {card["change"]: card for card in cards}


def test_every_change_is_there(speech: Path, sounds: Path, tmp_path: Path, voicetone: Run) -> None:
    out = tmp_path / "made" / "out"
    words = ("augment", speech, "--preview", out, "--noise", sounds, "--rooms", sounds)
    done = voicetone(*words)
    assert done.code == 0, done.err
    assert done.out == f"{out / 'preview.html'}: speech.wav and 10 changes of it\n"
    cards = told(out)
    assert list(cards) == ["original", "mask", *MAKERS, "all"]
    listed = {"preview.json", "preview.html"}
    for name, card in cards.items():
        listed |= {card["picture"], *([card["sound"]] if card["sound"] else [])}
        if name == "mask":
            assert card["sound"] is None
            continue
        info = soundfile.info(out / card["sound"])
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert info.frames / 16_000 == pytest.approx(card["seconds"])
    assert set(contents(out)) == listed
    drawn = {name: card["drawn"] for name, card in cards.items()}
    assert cards["noise"]["sound"] == f"noise-{drawn['noise']['snr']:.1f}dB.wav"
    assert cards["speed"]["sound"] == f"speed-{100 * drawn['speed']['rate']:.0f}percent.wav"
    assert 0 <= drawn["noise"]["snr"] <= 15
    assert drawn["reverb"]["response"] in ("dog/bark a b", "c")
    assert not {"reverb.dry", "room.dry"} <= set(drawn["all"])
    assert {"speed.rate", "pitch.semitones", "noise.snr", "gain.decibels"} <= set(drawn["all"])
    before = contents(out)
    assert voicetone(*words).code == 0
    assert contents(out) == before


def test_sounds_are_what_the_transforms_make_of_the_numbers(
    speech: Path, tmp_path: Path, voicetone: Run
) -> None:
    out = tmp_path / "out"
    assert voicetone("augment", speech, "--preview", out, "--only", "speed,pitch,gain").code == 0
    cards = told(out)
    samples, rate = soundfile.read(speech, dtype="float32", always_2d=True)
    wave = Waveform(samples.T, rate).mono().resample(16_000)
    drawn = {name: card["drawn"] for name, card in cards.items()}
    every = shifted(at_rate(wave, drawn["all"]["speed.rate"]), drawn["all"]["pitch.semitones"])
    expected = {
        "original": wave,
        "speed": at_rate(wave, drawn["speed"]["rate"]),
        "pitch": shifted(wave, drawn["pitch"]["semitones"]),
        "gain": louder(wave, drawn["gain"]["decibels"]),
        "all": louder(every, drawn["all"]["gain.decibels"]),
    }
    assert set(expected) == set(cards)
    for name, one in expected.items():
        found, _ = soundfile.read(out / cards[name]["sound"], dtype="float32")
        np.testing.assert_allclose(found, one.samples[0].clip(-1, 1), atol=2**-14)


def test_seeds_counts_and_older_files(speech: Path, tmp_path: Path, voicetone: Run) -> None:
    out = tmp_path / "out"
    line = ("augment", speech, "--preview", out, "--only", FAST)
    assert voicetone(*line).code == 0
    first = contents(out)
    (out / "notes.txt").write_text("mine")
    assert voicetone(*line, "--seed", 1, "--count", 3).code == 0
    second = contents(out)
    assert second.pop("notes.txt") == b"mine"
    assert len(second) == 2 + 2 + 3 * (2 * 7 + 1)
    assert not (set(first) & set(second)) - {
        "original.wav", "original.png", "preview.json", "preview.html", "all-0.wav", "all-0.png",
        "speed-95percent.wav", "speed-95percent.png", "speed-105percent.wav",
        "speed-105percent.png", *(n for n in first if n.startswith(("codec", "mask"))),
    }  # fmt: skip
    assert first["all-0.wav"] != second["all-0.wav"]
    assert first["original.wav"] == second["original.wav"]
    sounds = [content for name, content in second.items() if re.match(r"(pitch|noise).*wav", name)]
    assert len(set(sounds)) == 6


def test_one_change_alone(speech: Path, tmp_path: Path, voicetone: Run) -> None:
    for only, files in (("mask", 5 - 1), ("gain", 6)):
        out = tmp_path / only
        assert voicetone("augment", speech, "--preview", out, "--only", only).code == 0
        assert len(contents(out)) == files + (only == "mask")  # one picture has no sound
        assert "all" not in told(out)


def test_a_mask_is_seen_where_it_lies(speech: Path, tmp_path: Path, voicetone: Run) -> None:
    from matplotlib.image import imread

    assert voicetone("augment", speech, "--preview", tmp_path / "o", "--only", "mask").code == 0
    cards = told(tmp_path / "o")
    one, other = (imread(tmp_path / "o" / cards[n]["picture"]) for n in ("original", "mask"))
    assert one.shape == other.shape
    hidden = np.zeros(one.shape[:2], dtype=bool)
    for mask in cards["mask"]["drawn"]["masks"]:
        hidden[::-1][mask["low"] : mask["low"] + mask["width"]] = True
        hidden[:, mask["start"] : mask["start"] + mask["length"]] = True
    assert hidden.any()
    assert (one == other).all(axis=2)[~hidden].all()
    assert (one != other).any(axis=2)[hidden].mean() > 0.8


@pytest.mark.parametrize("samples", [1, 40, 700])
@pytest.mark.parametrize("level", [0.0, 0.5])
def test_short_and_silent_recordings(
    samples: int, level: float, tmp_path: Path, voicetone: Run
) -> None:
    file = write_audio(tmp_path / "in" / "s.wav", np.full((samples, 1), level, np.float32), 16_000)
    done = voicetone("augment", file, "--preview", tmp_path / "out")
    assert done.code == 0, done.err


def test_the_first_minute_of_a_long_one(tmp_path: Path, voicetone: Run) -> None:
    file = write_audio(tmp_path / "in" / "long.wav", noise(70.0))
    done = voicetone("augment", file, "--preview", tmp_path / "out", "--only", "gain")
    assert done.errors == [f"voicetone: {file}: only its first 60 s are used"]
    assert soundfile.info(tmp_path / "out" / "original.wav").duration == pytest.approx(60.0)


def test_from_a_pipe(speech: Path, tmp_path: Path) -> None:
    with speech.open("rb") as stream:
        done = in_process(
            ["augment", "-", "--preview", tmp_path / "o", "--only", "gain"], stdin=stream
        )
    assert done.returncode == 0, done.stderr
    assert "standard input and 1 changes" in done.stdout


def test_the_page_names_what_is_there_and_nothing_else(tmp_path: Path, voicetone: Run) -> None:
    file = write_audio(tmp_path / "in" / "<b>&'x.wav", 8 * noise(1.0))
    out = tmp_path / "out"
    assert voicetone("augment", file, "--preview", out, "--only", "noise,mask").code == 0
    page = (out / "preview.html").read_text("utf-8")
    assert "<b>&'x" not in page
    assert "&lt;b&gt;&amp;&#39;x.wav" in page
    for link in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert (out / link).is_file()
    assert "http" not in page.replace("http-equiv", "")
    assert "Clipped: " in page


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["--only", "loudness"], 2, "--only loudness: no such change; use any of speed, pitch"),
        (["--only", ","], 2, "--only ,: names no change"),
        (["--only", "gain,reverb"], 2, "--only reverb: needs --rooms FOLDER"),
        (["--seed", "-1"], 2, "--seed -1: give a whole number from 0 on"),
        (["--count", "0"], 2, "--count 0: give a number of draws from 1 to 20"),
        (["--count", "21"], 2, "--count 21: give a number of draws from 1 to 20"),
        (["--noise", "{tmp}/none"], 3, "manifest.csv: no such manifest"),
        (["--noise", "{tmp}/empty"], 3, "empty: its manifest names no sound"),
        (["--rooms", "{tmp}/gone"], 3, "x.wav is gone"),
        (["--noise", "{tmp}/broken", "--only", "noise"], 3, "no sound file that can be read"),
        (["--preview", "{tmp}/in"], 3, "holds something else than a preview of changes"),
        (["--preview", "{tmp}/in/speech.wav"], 3, "holds something else than a preview"),
        (["--preview", "{tmp}/in/speech.wav/x"], 3, "can't be written"),
    ],
)
def test_mistakes(
    speech: Path, tmp_path: Path, voicetone: Run, words: list[str], code: int, line: str
) -> None:
    for name, table in (("empty", ""), ("gone", "x.wav\n"), ("broken", "x.wav\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.csv").write_text(f"file\n{table}")
    (tmp_path / "broken" / "x.wav").write_text("no sound at all")
    before = contents(speech.parent)
    given = [word.format(tmp=tmp_path) for word in words]
    if "--preview" not in given:
        given += ["--preview", str(tmp_path / "out")]
    if "--only" not in given:
        given += ["--only", "gain,noise"]
    done = voicetone("augment", speech, *given)
    assert done.code == code, done.err
    (error,) = done.err.splitlines()
    assert line in error
    assert contents(speech.parent) == before
    assert not (tmp_path / "out").exists()


def test_recordings_that_are_none(tmp_path: Path, voicetone: Run) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    for file, code, line in (
        ("gone.wav", 3, "no such file"),
        ("text.wav", 3, "no sound file that can be read"),
        (".", 2, "is a folder: name a file"),
    ):
        done = voicetone("augment", tmp_path / file, "--preview", tmp_path / "out")
        assert done.code == code
        assert line in done.err
    assert not (tmp_path / "out").exists()


def test_the_recording_is_not_lost(speech: Path, tmp_path: Path, voicetone: Run) -> None:
    out = tmp_path / "out"
    assert voicetone("augment", speech, "--preview", out, "--only", "gain").code == 0
    before = contents(out)
    done = voicetone("augment", out / "original.wav", "--preview", out, "--only", "speed")
    assert done.code == 2
    assert "the recording lies in it" in done.err
    assert contents(out) == before
    # A list that somebody else wrote takes nothing along that no preview would have made.
    listed = json.loads((out / "preview.json").read_text("utf-8"))
    (tmp_path / "mine.wav").write_text("mine")
    (out / "sub").mkdir()
    listed["files"] += ["../mine.wav", "sub", 3, "none.wav"]
    (out / "preview.json").write_text(json.dumps(listed))
    assert voicetone("augment", speech, "--preview", out, "--only", "gain").code == 0
    assert (tmp_path / "mine.wav").is_file()
    shutil.rmtree(out / "sub")
    (out / "preview.json").write_text('{"files": []}')
    assert voicetone("augment", speech, "--preview", out).code == 3


def test_extras_that_lack(
    speech: Path, tmp_path: Path, voicetone: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if "pyroom" in name else found(name)
    )
    line = ("augment", speech, "--preview", tmp_path / "out", "--only")
    done = voicetone(*line, "room")
    assert done.code == 4
    assert "pip install 'voicetone[train]'" in done.err
    done = voicetone(*line, "")
    assert done.code == 0
    assert "room: left out, it needs" in done.err
    assert "room" not in told(tmp_path / "out")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = voicetone(*line, "gain")
    assert done.code == 4
    assert "pip install 'voicetone[report]'" in done.err


def test_together_takes_one_room_and_one_telephone() -> None:
    wave = Waveform(noise(0.3).T, 8_000)
    library = Library([noise(0.1)[:, 0]], ["n"], [noise(0.02)[:, 0]], ["r"])
    seen = set()
    for seed in range(12):
        out, steps = together(list(MAKERS), wave, generator(seed), library)
        names = [step.change for step in steps]
        assert names == [name for name in MAKERS if name in names]
        assert len(names) == 6
        assert steps[-1].wave is out
        seen |= set(names)
    assert seen == set(MAKERS)


def test_what_is_heard_is_what_training_draws_from() -> None:
    wave = Waveform(noise(0.5).T, 8_000)
    sounds = [noise(0.2, seed=k)[:, 0] for k in range(3)]
    one = heard("noise", wave, generator(4), Library(sounds, ["a", "b", "c"]))
    rng = generator(4)
    place = int(rng.integers(3))
    sound = np.roll(sounds[place], int(rng.integers(len(sounds[place]))))
    np.testing.assert_array_equal(
        one.wave.samples, mixed(wave, sound, rng.uniform(0.0, 15.0)).samples
    )
    assert one.drawn["noise"] == "abc"[place]


@pytest.mark.browser
def test_the_page_in_a_browser(
    speech: Path, tmp_path: Path, voicetone: Run, needs_program: Callable[[str], Path]
) -> None:
    chromium = needs_program("chromium")
    driver = pytest.importorskip("playwright.sync_api")
    out = tmp_path / "out"
    assert voicetone("augment", speech, "--preview", out, "--only", "noise,gain,mask").code == 0
    flags = ["--no-sandbox", "--disable-gpu", "--mute-audio"]
    with driver.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(chromium), args=flags)
        for width, scheme in ((1200, "light"), (360, "dark")):
            complaints: list[str] = []
            asked: list[str] = []
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            page.on("console", lambda m, to=complaints: to.append(m.text))
            page.on("request", lambda r, to=asked: to.append(r.url))
            page.goto((out / "preview.html").as_uri())
            page.wait_for_function("[...document.querySelectorAll('audio')].every(a => a.duration)")
            drawn = page.evaluate("[...document.images].map(i => i.naturalWidth)")
            assert len(drawn) == 5
            assert min(drawn) > 0
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate("document.querySelectorAll('audio').length") == 4
            assert complaints == []
            assert all(url.startswith(out.as_uri()) for url in asked)
        browser.close()
