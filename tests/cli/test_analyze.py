"""`voicetone analyze` with the toy model."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import RATE, Run, command, environment, in_process, noise, write_audio

from voicetone.types import FileResult

PER_FILE = {"json": ".json", "rttm": ".rttm", "textgrid": ".TextGrid", "audacity": ".txt"}


def load(path: Path) -> FileResult:
    return FileResult.from_dict(json.loads(path.read_text()))


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_table_per_channel(call: Path, voicetone: Run) -> None:
    done = voicetone("analyze", call)
    assert done.code == 0
    assert "channel 1" in done.out
    assert "channel 2" in done.out
    for word in ("overall", "sentiment", "emotion", "speech", "over time", "toy 0.1.0"):
        assert word in done.out
    assert "\x1b" not in done.out
    assert max(len(line) for line in done.out.splitlines() if str(call) not in line) <= 80
    assert done.err.strip() == "voicetone: The toy model knows nothing: its answers are arbitrary."


def test_a_narrow_terminal(call: Path, voicetone: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "34")
    done = voicetone("analyze", call)
    assert done.code == 0
    table = [line for line in done.out.splitlines() if line.startswith(("│", "╭", "╰"))]
    assert table
    assert max(map(len, table)) <= 34


def test_quiet_says_nothing(call: Path, voicetone: Run, tmp_path: Path) -> None:
    done = voicetone("analyze", call, "-q", "--json", tmp_path / "x.json")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_the_object_has_the_published_shape(call: Path, voicetone: Run, tmp_path: Path) -> None:
    voicetone("analyze", call, "--json", tmp_path / "x.json")
    data = json.loads((tmp_path / "x.json").read_text())
    assert list(data)[:5] == ["file", "duration", "model", "flags", "channels"]
    assert data["file"] == str(call)
    assert data["duration"] == 9.0
    first, second = data["channels"]
    assert (first["channel"], second["channel"]) == (1, 2)
    assert set(first["windows"][0]) == {
        "start",
        "end",
        "speech",
        "speech_seconds",
        "sentiment",
        "emotion",
    }
    assert set(first["current"][0]) == {"end", "label", "sentiment", "emotion"}
    assert {"speech_seconds", "label", "confidence"} < set(first["overall"])


def test_python_and_command_line_agree(
    call: Path, voicetone: Run, tmp_path: Path, toy: Path
) -> None:
    import voicetone as package

    voicetone("analyze", call, "--json", tmp_path / "x.json")
    direct = FileResult.from_dict(package.analyze(call, package.load(toy)).to_dict())
    ours = load(tmp_path / "x.json")
    assert [c.channel for c in direct.channels] == [1, 2]
    assert ours.channels == direct.channels


@pytest.mark.parametrize("name", ["json", "jsonl", "csv", "rttm", "textgrid", "audacity", "html"])
def test_standard_output_holds_the_format_alone(
    name: str, call: Path, voicetone: Run, tmp_path: Path
) -> None:
    voicetone("analyze", call, f"--{name}", tmp_path / "x")
    done = voicetone("analyze", call, f"--{name}", "-")
    assert done.code == 0
    assert done.out == (tmp_path / "x").read_text()
    assert "overall" in done.err


def test_a_folder_gives_a_file_per_recording(folder: Path, voicetone: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = [word for name in PER_FILE for word in (f"--{name}", out / name)]
    tables = ["--csv", out / "x.csv", "--jsonl", out / "x.jsonl", "--html", f"{out}/html/"]
    done = voicetone("analyze", folder, *options, *tables)
    assert (done.code, done.errors) == (0, [])
    for name, suffix in {**PER_FILE, "html": ".html"}.items():
        found = sorted(p.relative_to(out / name).as_posix() for p in (out / name).rglob("*.*"))
        assert found == [f"a{suffix}", f"b{suffix}", f"sub/a{suffix}"]
    order = [folder / "a.wav", folder / "b.flac", folder / "sub" / "a.wav"]
    assert [line["file"] for line in lines(out / "x.jsonl")] == [str(path) for path in order]
    with (out / "x.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert list(dict.fromkeys(row["file"] for row in rows)) == [str(path) for path in order]
    assert not list(tmp_path.rglob("*.part"))
    assert not list(tmp_path.rglob("*.partial.jsonl"))


def test_several_jobs_give_what_one_gives(folder: Path, voicetone: Run, tmp_path: Path) -> None:
    for jobs in (1, 3):
        out = tmp_path / str(jobs)
        options = ("--csv", out / "x.csv", "--jsonl", out / "x.jsonl", "--json", f"{out}/json/")
        done = voicetone("analyze", folder, "--jobs", jobs, *options)
        assert (done.code, done.errors) == (0, [])
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / n).rglob("*.*")} for n in "13")
    assert first == second


def test_channels_by_number_and_by_name(call: Path, voicetone: Run, tmp_path: Path) -> None:
    def analysed(*options: object) -> list[tuple[int, str | None]]:
        done = voicetone("analyze", call, "--json", tmp_path / "x.json", *options)
        assert done.code == 0, done.err
        return [(c.channel, c.name) for c in load(tmp_path / "x.json").channels]

    names = ("--channel-names", "agent,customer")
    assert analysed("--channels", "2") == [(2, None)]
    assert analysed(*names) == [(2, "customer")]
    assert analysed(*names, "--channels", "1,2") == [(1, "agent"), (2, "customer")]
    assert analysed(*names, "--analyse", "all") == [(1, "agent"), (2, "customer")]
    assert analysed(*names, "--analyse", "agent") == [(1, "agent")]


def test_headerless_audio_is_the_same_audio(voicetone: Run, tmp_path: Path) -> None:
    samples = (noise(4.0, channels=2) * 32767).round().astype("<i2")
    write_audio(tmp_path / "x.wav", samples)
    (tmp_path / "x.raw").write_bytes(samples.tobytes())
    raw = ("--encoding", "s16le", "--rate", RATE, "--channels", 2)
    for name, options in (("x.wav", ()), ("x.raw", raw)):
        done = voicetone("analyze", tmp_path / name, *options, "--json", tmp_path / f"{name}.json")
        assert done.code == 0, done.err
    one, two = load(tmp_path / "x.wav.json"), load(tmp_path / "x.raw.json")
    assert one.channels == two.channels


def test_standard_input(call: Path, toy: Path, tmp_path: Path) -> None:
    with call.open("rb") as audio:
        done = in_process(["analyze", "-", "--model", toy, "--json", "-"], stdin=audio)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["file"] == "-"
    assert len(data["channels"]) == 2
    assert "fingerprint" not in data


USAGE = [
    ([], "Missing argument"),
    (["x.wav", "--rate", "8000"], "--encoding"),
    (["x.wav", "--encoding", "mulaw"], "--rate"),
    (["x.wav", "--encoding", "mp4", "--rate", "8000"], "s16le"),
    (["x.wav", "--encoding", "alaw", "--rate", "8000", "--channels", "1,2"], "how many"),
    (["x.wav", "--encoding", "alaw", "--rate", "7"], "7 Hz"),
    (["x.wav", "--channels", "0"], "from 1"),
    (["x.wav", "--channels", "left"], "from 1"),
    (["x.wav", "--channel-names", "a,"], "empty"),
    (["x.wav", "--channel-names", "a,a"], "twice"),
    (["x.wav", "--analyse", "agent"], "--channel-names"),
    (["x.wav", "--channel-names", "a,b", "--analyse", "c"], "no channel is named"),
    (["x.wav", "--analyse", "all", "--channels", "1"], "one of them"),
    (["x.wav", "--threads", "0"], "threads"),
    (["x.wav", "--jason", "x"], "No such option"),
    (["x.wav", "y.wav", "--json", "-"], "--jsonl -"),
    (["x.wav", "--json", "x.wav"], "overwrite"),
]


@pytest.mark.parametrize(("arguments", "words"), USAGE)
def test_wrong_usage_is_one_line_and_code_2(
    arguments: list[str],
    words: str,
    voicetone: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_audio(tmp_path / "x.wav", noise(1.0))
    before = (tmp_path / "x.wav").read_bytes()
    done = voicetone("analyze", *arguments)
    assert done.code == 2
    (line,) = done.errors
    assert words in line
    assert (tmp_path / "x.wav").read_bytes() == before


@pytest.mark.parametrize("channels", ["3", "1,3"])
def test_a_channel_that_is_not_there(channels: str, call: Path, voicetone: Run) -> None:
    done = voicetone("analyze", call, "--channels", channels)
    assert done.code == 2
    (line,) = done.errors
    assert f"{call}: " in line
    assert "there is no channel 3: the audio has channels 1 to 2" in line


def test_too_few_names(call: Path, voicetone: Run) -> None:
    done = voicetone("analyze", call, "--channel-names", "customer")
    assert done.code == 2
    assert f"{call}: " in done.errors[0]


def test_debug_adds_the_traceback(voicetone: Run, tmp_path: Path) -> None:
    plain = voicetone("analyze", tmp_path / "none.wav")
    assert "Traceback" not in plain.err
    for arguments in (("analyze", tmp_path / "none.wav", "--debug"),):
        done = voicetone(*arguments)
        assert done.code == 3
        assert "Traceback" in done.err


def test_an_output_that_cannot_be_written(call: Path, voicetone: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = voicetone("analyze", call, "--json", tmp_path / "file" / "x.json")
    assert done.code == 3
    (line,) = done.errors
    assert "can't be" in line


def test_parquet_without_its_extra(
    call: Path, voicetone: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = voicetone("analyze", call, "--parquet", tmp_path / "x.parquet")
    assert done.code == 4
    assert "voicetone[data]" in done.errors[0]
    assert not (tmp_path / "x.parquet").exists()


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no such device")
def test_a_device_as_output(call: Path, toy: Path) -> None:
    done = in_process(["analyze", call, "--model", toy, "-q", "--csv", "/dev/stdout"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("file,channel,")
    assert Path("/dev/stdout").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes of this kind")
def test_a_reader_that_goes_away(folder: Path, toy: Path) -> None:
    words = command("analyze", folder, "--model", toy, "--jsonl", "-", "--jobs", 1)
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 141
    assert "Traceback" not in errors
    assert "Error" not in errors
