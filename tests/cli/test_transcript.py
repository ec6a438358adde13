"""`voicetone analyze --transcript`: what is said, resuming, and what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.cli.conftest import Run
from tests.inference.test_enrolment import voice
from tests.toy import make_toy_bundle
from tests.toy_words import make_words_bundle

from voicetone.cli import transcripts
from voicetone.cli.transcripts import read_transcript
from voicetone.errors import DataError

LINE = '{"start": 0.5, "end": 3.0, "text": "thank you", "confidence": 0.9}\n'


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_words_bundle(tmp_path_factory.mktemp("reading"))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "call.wav", voice(9.0, 1), 16_000)
    return tmp_path / "call.wav"


@pytest.fixture
def said(tmp_path: Path) -> Path:
    (tmp_path / "said.jsonl").write_text(f"{LINE}\n", "utf-8")
    return tmp_path / "said.jsonl"


@pytest.fixture
def analyse(voicetone: Run, reading: Path, tmp_path: Path) -> Any:
    """Analyse with the toy model; its exit code, errors and JSON."""

    def call(*arguments: object, model: Path = reading) -> tuple[int, str, dict[str, Any]]:
        out = tmp_path / "result.json"
        out.unlink(missing_ok=True)
        done = voicetone("analyze", *arguments, "--model", model, "--json", out)
        return done.code, done.err, json.loads(out.read_text()) if out.is_file() else {}

    return call


def test_words_of_a_file(analyse: Any, clip: Path, said: Path) -> None:
    code, _, found = analyse(clip, "--transcript", said)
    _, _, numbered = analyse(clip, "--transcript", f"1={said}")
    _, _, silent = analyse(clip)
    assert code == 0
    assert found["channels"] == numbered["channels"]
    (channel,), (without,) = found["channels"], silent["channels"]
    assert (channel["windows_with_words"], without["windows_with_words"]) == (2, 0)
    assert channel["windows"][0]["emotion"] != without["windows"][0]["emotion"]
    assert found["fingerprint"] != silent["fingerprint"]
    assert "thank you" not in json.dumps(found)


def test_a_channel_by_its_name(analyse: Any, tmp_path: Path, said: Path) -> None:
    path = tmp_path / "two.wav"
    soundfile.write(path, np.stack([voice(6.0, 1), voice(6.0, 2)], axis=1), 16_000)
    names = ("--channel-names", "left,right")
    code, err, found = analyse(path, *names, "--transcript", f"right={said}")
    assert (code, [c["windows_with_words"] for c in found["channels"]]) == (0, [0, 2]), err
    code, err, _ = analyse(path, "--transcript", said)
    assert code == 2
    assert "one transcript, and 2 channels are analysed" in err


def test_a_result_is_kept_as_long_as_its_words(
    voicetone: Run, reading: Path, clip: Path, said: Path, tmp_path: Path
) -> None:
    out = tmp_path / "all.jsonl"

    def again() -> str:
        told = ("--model", reading, "--jsonl", out, "--transcript", said)
        done = voicetone("analyze", clip, *told)
        assert done.code == 0, done.err
        return done.err

    assert "were analysed before" not in again()
    assert "were analysed before" in again()
    said.write_text(LINE.replace("thank you", "terrible"), "utf-8")
    assert "were analysed before" not in again()


def test_options_that_do_not_go_together(
    analyse: Any, voicetone: Run, reading: Path, clip: Path, said: Path, tmp_path: Path
) -> None:
    for options, why in (
        (("--transcript", "1="), "name a file"),
        (("--transcript", said, "--transcript", said), "two files of one channel"),
        (("--transcript", said, "--transcript", f"1={said}"), "files with and without a channel"),
        (("--transcript", said, "--split-speakers", "2"), "which party said what"),
    ):
        code, err, _ = analyse(clip, *options)
        assert (code, why in err) == (2, True), err
    soundfile.write(tmp_path / "b.wav", voice(2.0, 1), 16_000)
    done = voicetone("analyze", clip, tmp_path / "b.wav", "--transcript", said, "--model", reading)
    assert (done.code, "what is said in one recording, and these are 2" in done.err) == (2, True)
    plain = make_toy_bundle(tmp_path / "plain")
    code, err, _ = analyse(clip, "--transcript", said, model=plain)
    assert (code, "takes no words" in err) == (2, True), err


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("thank you", "no line of a transcript"),
        ('"text"', "no line of a transcript"),
        ("[" * 100_000, "no line of a transcript"),
        ('{"start": 1, "text": "fine"}', "no line of a transcript"),
        ('{"start": "1", "end": 2, "text": "fine"}', "must be numbers"),
        ('{"start": 1, "end": NaN, "text": "fine"}', "must be numbers"),
        ('{"start": true, "end": 2, "text": "fine"}', "must be numbers"),
        ('{"start": 1, "end": 2, "text": null}', "must be numbers"),
        ('{"start": 2, "end": 1, "text": "fine"}', "start before the end"),
        ('{"start": -2, "end": 1, "text": "fine"}', "start before the end"),
        ('{"start": 0, "end": 1, "text": "%s"}' % ("x" * 30_000), "in stretches of at most"),
    ],
)
def test_lines_that_are_none(line: str, why: str) -> None:
    with pytest.raises(DataError, match=f"words:2: .*{why}") as caught:
        read_transcript(Path("words"), f"{LINE}{line}\n".encode())
    assert len(str(caught.value)) < 300


def test_files_that_are_none(
    analyse: Any, clip: Path, said: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, err, _ = analyse(clip, "--transcript", clip.parent / "nowhere")
    assert (code, "a transcript that can't be read" in err) == (3, True), err
    with pytest.raises(DataError, match="words:1: no line of a transcript"):
        read_transcript(Path("words"), b"\xff\xfe\x00")
    monkeypatch.setattr(transcripts, "MOST_LINES", 3)
    with pytest.raises(DataError, match="over 3 lines"):
        read_transcript(Path("words"), LINE.encode() * 4)
    monkeypatch.setattr(transcripts, "MOST_BYTES", 10)
    code, err, _ = analyse(clip, "--transcript", said)
    assert (code, "a transcript of over" in err) == (3, True), err
