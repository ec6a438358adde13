"""`voicetone analyze --speaker-enrol`: whose voice, what results say of it, what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.cli.conftest import Run
from tests.inference.test_enrolment import voice
from tests.toy_speaker import make_speaker_bundle

from voicetone.cli.enrolling import voices_of
from voicetone.errors import UsageError


@pytest.fixture(scope="module")
def knowing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_speaker_bundle(tmp_path_factory.mktemp("knowing"))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "call.wav", voice(14.0, 1), 16_000)
    return tmp_path / "call.wav"


@pytest.fixture
def enrolment(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "me.wav", voice(6.0, 3), 16_000)
    return tmp_path / "me.wav"


@pytest.fixture
def analyse(voicetone: Run, knowing: Path, tmp_path: Path) -> Any:
    """Analyse with the toy model; its exit code, errors and JSON."""

    def call(*arguments: object) -> tuple[int, str, dict[str, Any]]:
        out = tmp_path / "result.json"
        out.unlink(missing_ok=True)
        done = voicetone("analyze", *arguments, "--model", knowing, "--json", out)
        return done.code, done.err, json.loads(out.read_text()) if out.is_file() else {}

    return call


def _speaker(data: dict[str, Any], row: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = data["channels"][row]["speaker"]
    return found


def test_the_voice_is_learnt_of_the_call_or_enrolled_or_unknown(
    analyse: Any, clip: Path, enrolment: Path
) -> None:
    found = {
        choice: analyse(clip, *options)[2]
        for choice, options in {
            "default": (),
            "auto": ("--speaker-enrol", "auto"),
            "none": ("--speaker-enrol", "none"),
            "file": ("--speaker-enrol", enrolment),
            "numbered": ("--speaker-enrol", f"1={enrolment}"),
        }.items()
    }
    for data in found.values():
        data.pop("fingerprint")
    assert found["default"] == found["auto"]
    assert found["file"] == found["numbered"]
    assert _speaker(found["auto"])["source"] == "auto"
    assert _speaker(found["auto"])["from"] % 2.5 == 0
    assert _speaker(found["none"]) == {
        "source": "unknown",
        "seconds": 0.0,
        "from": None,
        "warnings": [],
    }
    assert _speaker(found["file"])["source"] == "enrolled"
    assert _speaker(found["file"])["from"] == 0
    scores = [found[name]["channels"][0]["overall"]["emotion"] for name in ("auto", "none", "file")]
    assert scores[0] != scores[1] != scores[2] != scores[0]


def test_by_name_and_in_several_processes(analyse: Any, tmp_path: Path, enrolment: Path) -> None:
    sound = np.stack([voice(12.0, 1), voice(12.0, 2)], axis=1)
    soundfile.write(tmp_path / "two.wav", sound, 16_000)
    names = ("--channel-names", "left,right")
    code, err, data = analyse(tmp_path / "two.wav", *names, "--speaker-enrol", f"right={enrolment}")
    assert code == 0, err
    assert [_speaker(data, row)["source"] for row in (0, 1)] == ["auto", "enrolled"]
    code, err, _ = analyse(tmp_path / "two.wav", "--speaker-enrol", enrolment)
    assert code == 2
    assert "one enrolled voice, and 2 channels are analysed" in err
    chosen = ("--channels", "2", "--speaker-enrol", enrolment)
    assert _speaker(analyse(tmp_path / "two.wav", *chosen)[2])["source"] == "enrolled"


def test_what_is_written_says_it_and_holds_no_voice(
    voicetone: Run, knowing: Path, clip: Path, enrolment: Path, tmp_path: Path
) -> None:
    outputs = ("--html", tmp_path / "p.html", "--jsonl", tmp_path / "r.jsonl")
    done = voicetone(
        "analyze", clip, "--model", knowing, *outputs, "--speaker-enrol", enrolment, "--debug"
    )
    assert done.code == 0, done.err
    assert "known beforehand, from" in done.out
    page = (tmp_path / "p.html").read_text("utf-8")
    assert "Speaker known beforehand, from" in page
    everything = done.out + done.err + page + (tmp_path / "r.jsonl").read_text()
    assert "embedding" not in everything.replace("embeddings", "")
    done = voicetone("analyze", clip, "--model", knowing)
    assert "known from 0:0" in done.out


def test_a_run_goes_on_only_with_the_same_voice(
    voicetone: Run, knowing: Path, clip: Path, enrolment: Path, tmp_path: Path
) -> None:
    lines = tmp_path / "r.jsonl"
    arguments = ("analyze", clip, "--model", knowing, "--jsonl", lines)
    with_voice = (*arguments, "--speaker-enrol", enrolment)
    assert "analysed before" not in voicetone(*with_voice).err
    assert "analysed before" in voicetone(*with_voice).err
    assert "analysed before" not in voicetone(*arguments).err
    soundfile.write(enrolment, voice(6.0, 2), 16_000)
    assert "analysed before" not in voicetone(*with_voice).err
    assert len(lines.read_text().splitlines()) == 1


def test_two_voices_are_warned_of_and_it_goes_on(analyse: Any, clip: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    hiss = np.diff(0.2 * rng.standard_normal(5 * 16_000 + 1))
    hiss *= np.sin(np.arange(len(hiss)) / 3000) > 0
    soundfile.write(tmp_path / "two.wav", np.concatenate([voice(6.0, 0), hiss]), 16_000)
    code, err, data = analyse(clip, "--speaker-enrol", tmp_path / "two.wav")
    assert code == 0
    assert "two.wav: perhaps two voices in the enrolment" in err
    assert len(_speaker(data)["warnings"]) == 1


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--speaker-enrol", "nowhere.wav"), 3, "nowhere.wav"),
        (("--speaker-enrol", "silent.wav"), 3, "no speech in it to enrol a speaker from"),
        (("--speaker-enrol", "auto", "--speaker-enrol", "me.wav"), 2, "stand alone"),
        (("--speaker-enrol", "me.wav", "--speaker-enrol", "1=me.wav"), 2, "with and without"),
        (("--speaker-enrol", "-"), 2, "'-': name a file"),
        (("--speaker-enrol", "3=me.wav"), 2, "for channel 3, which is not analysed"),
        (("--speaker-enrol", "me.wav", "--split-speakers", "2"), 2, "--split-speakers: who of"),
    ],
)
def test_what_goes_wrong(
    analyse: Any,
    clip: Path,
    enrolment: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("silent.wav", np.zeros(48_000), 16_000)
    found, err, _ = analyse(clip, *options)
    assert found == code
    assert words in err
    assert "Traceback" not in err


def test_a_model_that_takes_no_speaker(voicetone: Run, clip: Path, enrolment: Path) -> None:
    done = voicetone("analyze", clip, "--speaker-enrol", enrolment)
    assert done.code == 2
    assert "toy 0.1.0 takes no speaker" in done.err
    assert voicetone("analyze", clip, "--speaker-enrol", "none").code == 0


def test_live_is_told_of_voices_too(
    voicetone: Run, knowing: Path, clip: Path, enrolment: Path, toy: Path
) -> None:
    def lines(*options: object, model: Path = knowing) -> tuple[int, list[str], str]:
        live = ("live", "--file", clip, "--model", model, "--speed", 1000, "--plain")
        done = voicetone(*live, *options)
        return done.code, done.out.splitlines(), done.err

    code, auto, _ = lines()
    assert code == 0
    assert [text for text in auto if "speaker known from" in text]
    found = {choice: lines("--speaker-enrol", choice)[1] for choice in ("auto", "none", enrolment)}
    assert found["auto"] == auto
    assert not [text for text in found["none"] if "speaker" in text]
    assert len({"\n".join(out) for out in found.values()}) == 3
    code, _, told = lines("--speaker-enrol", enrolment, model=toy)
    assert (code, "takes no speaker" in told) == (2, True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, None),
        (["auto"], "auto"),
        (["none"], "none"),
        (["vt_a"], "vt_a"),
        (["customer=vt_a", "1=vt_b"], {1: "vt_b", 2: "vt_a"}),
    ],
)
def test_a_server_is_told_its_own_voices(given: list[str] | None, said: object) -> None:
    assert voices_of(given, ("agent", "customer")) == said


def test_a_server_takes_one_voice_per_channel() -> None:
    with pytest.raises(UsageError, match="one voice of the server per channel"):
        voices_of(["vt_a", "vt_b"], None)
