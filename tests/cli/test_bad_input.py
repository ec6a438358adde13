"""Bad input: one line that names the file, the problem and the way out; the others are kept."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.cli.conftest import RATE, Run, noise, write_audio
from tests.toy import make_toy_bundle, spec, write_spec


def missing(path: Path) -> None:
    path.unlink(missing_ok=True)


def unreadable(path: Path) -> None:
    path.symlink_to(path)  # a link to itself, which even the superuser can't read


def empty(path: Path) -> None:
    path.write_bytes(b"")


def header_only(path: Path) -> None:
    write_audio(path, np.zeros((0, 1), np.float32))


def truncated(path: Path) -> None:
    write_audio(path, noise(5.0))
    path.write_bytes(path.read_bytes()[:30_000])


def text(path: Path) -> None:
    path.write_text("Dear customer, this is no audio.\n" * 50)


def many_channels(path: Path) -> None:
    write_audio(path, noise(1.0, channels=32))


def absurd_rate(path: Path) -> None:
    write_audio(path, noise(1.0), rate=1_000_000)


def slow_rate(path: Path) -> None:
    write_audio(path, noise(1.0), rate=100)


def not_a_number(path: Path) -> None:
    samples = noise(3.0)
    samples[RATE, 0] = np.nan
    write_audio(path, samples, subtype="FLOAT")


BAD: list[tuple[Callable[[Path], None], str]] = [
    (missing, "no such file"),
    (unreadable, "can't be opened"),
    (empty, "empty"),
    (header_only, "no samples"),
    (truncated, "truncated"),
    (text, "no sound file that can be read"),
    (many_channels, "32 channels"),
    (absurd_rate, "1000000"),
    (slow_rate, "100"),
    (not_a_number, "NaN"),
]


@pytest.mark.parametrize(("make", "words"), BAD)
def test_one_line_that_names_file_problem_and_way_out(
    make: Callable[[Path], None], words: str, tmp_path: Path, voicetone: Run
) -> None:
    path = tmp_path / "bad one.wav"
    make(path)
    done = voicetone("analyze", path, "--json", tmp_path / "x.json")
    assert done.code == 3
    (line,) = done.errors
    assert line.startswith(f"voicetone: {path}: ")
    assert words in line.replace(",", "").replace("\u202f", "")
    assert ": " in line.removeprefix(f"voicetone: {path}: ")  # problem: way out
    assert not (tmp_path / "x.json").exists()


def test_the_others_are_kept(tmp_path: Path, voicetone: Run) -> None:
    place = tmp_path / "calls"
    place.mkdir()
    for make, _ in BAD:
        if make is not missing:
            make(place / f"{make.__name__}.wav")
    for i in range(3):
        write_audio(place / f"good{i}.wav", noise(2.0, seed=i))
    done = voicetone("analyze", place, "--jsonl", tmp_path / "x.jsonl", "--jobs", 2)
    assert done.code == 3
    lines = (tmp_path / "x.jsonl").read_text().splitlines()
    names = [Path(json.loads(line)["file"]).name for line in lines]
    assert names == ["good0.wav", "good1.wav", "good2.wav"]
    assert len(done.errors) == len(BAD)  # one line each, less the missing one, and the summary
    assert done.errors[-1] == "voicetone: 9 of 12 recordings failed"
    assert "good1.wav" in done.out


def test_a_folder_without_audio(tmp_path: Path, voicetone: Run) -> None:
    (tmp_path / "calls").mkdir()
    (tmp_path / "calls" / "notes.txt").write_text("none")
    done = voicetone("analyze", tmp_path / "calls")
    assert done.code == 3
    (line,) = done.errors
    assert f"{tmp_path / 'calls'}: no audio in this folder" in line


def flip(folder: Path) -> None:
    path = folder / "head.onnx"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)


def outside(folder: Path) -> None:
    shutil.copy(folder / "head.onnx", folder.parent / "head.onnx")
    content = spec() | {"graphs": {"encoder": "encoder.onnx", "head": "../head.onnx"}}
    write_spec(folder, content)


def link_outside(folder: Path) -> None:
    shutil.move(folder / "head.onnx", folder.parent / "head.onnx")
    (folder / "head.onnx").symlink_to(folder.parent / "head.onnx")


def without_spec(folder: Path) -> None:
    (folder / "bundle.json").unlink()


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("harm", [flip, outside, link_outside, without_spec])
def test_a_bundle_not_to_be_trusted(
    harm: Callable[[Path], None], jobs: int, tmp_path: Path, voicetone: Run, folder: Path
) -> None:
    bundle = make_toy_bundle(tmp_path / "bundles" / "toy")
    harm(bundle)
    done = voicetone("analyze", folder, "--model", bundle, "--jobs", jobs)
    assert done.code == 3
    (line,) = done.errors
    assert line.startswith(f"voicetone: {bundle}")
    assert done.out == ""
    verified = voicetone("models", "verify", bundle)
    assert verified.code == 3
    assert len(verified.errors) == 1


def silence(path: Path) -> None:
    write_audio(path, np.zeros((3 * RATE, 1), np.float32))


def clipped(path: Path) -> None:
    write_audio(path, np.clip(noise(3.0) * 100, -1, 1))


def one_sample(path: Path) -> None:
    write_audio(path, np.full((1, 1), 0.1, np.float32))


def sub_second(path: Path) -> None:
    write_audio(path, noise(0.3))


VALID: list[tuple[Callable[[Path], None], str]] = [
    (silence, "silent"),
    (clipped, "clipped"),
    (one_sample, "short"),
    (sub_second, "short"),
]


@pytest.mark.parametrize(("make", "flag"), VALID)
def test_odd_audio_is_valid_and_flagged_in_every_format(
    make: Callable[[Path], None], flag: str, tmp_path: Path, voicetone: Run
) -> None:
    path = tmp_path / "odd.wav"
    make(path)
    out = tmp_path / "out"
    formats = ("json", "jsonl", "csv", "parquet", "rttm", "textgrid", "audacity", "html")
    options = [word for name in formats for word in (f"--{name}", out / f"odd.{name}")]
    done = voicetone("analyze", path, *options)
    assert (done.code, done.errors) == (0, [])
    assert flag in json.loads((out / "odd.json").read_text())["flags"]
    assert flag in done.out
    assert {p.name for p in out.iterdir()} == {f"odd.{name}" for name in formats}


def test_a_hostile_name_stays_on_one_line(tmp_path: Path, voicetone: Run) -> None:
    path = tmp_path / "evil\n\x1b[31mname.wav"
    path.write_text("no audio")
    done = voicetone("analyze", path)
    assert done.code == 3
    assert len(done.errors) == 1
    assert "\x1b" not in done.err
    write_audio(path, noise(2.0))
    done = voicetone("analyze", path)
    assert done.code == 0
    assert "\x1b[31m" not in done.out


def test_a_name_that_is_not_utf8(tmp_path: Path, voicetone: Run) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    try:
        with path.open("wb") as out:
            soundfile.write(out, noise(2.0), RATE, format="WAV")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    options = ("--json", tmp_path / "x.json", "--csv", tmp_path / "x.csv")
    done = voicetone("analyze", path, *options, "--html", tmp_path / "x.html")
    assert (done.code, done.errors) == (0, [])
    assert json.loads((tmp_path / "x.json").read_bytes())["file"] == str(path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser reads all")
def test_a_file_without_permission(tmp_path: Path, voicetone: Run) -> None:
    path = write_audio(tmp_path / "secret.wav", noise(1.0))
    path.chmod(0)
    done = voicetone("analyze", path)
    assert done.code == 3
    assert "permission denied" in done.errors[0]
