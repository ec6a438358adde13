"""Runs that are cut short: killed, interrupted, or with a worker lost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.cli.conftest import Run, command, environment, noise, write_audio

from voicetone.cli.batch import read_peaks
from voicetone.inference.file import Overview, analyze
from voicetone.pretrained import load

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no signals of this kind")
COUNT = 30


def many_copies(tmp_path: Path, count: int) -> Path:
    """A folder with hard links to one recording of 40 s."""
    place = tmp_path / "calls"
    first = write_audio(place / "000.wav", noise(40.0))
    for i in range(1, count):
        (place / f"{i:03}.wav").hardlink_to(first)
    return place


def wait_for_lines(path: Path, count: int, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert process.poll() is None, "it ended before it could be interrupted"
        assert time.monotonic() < end
        time.sleep(0.005)


def children(pid: int) -> list[int]:
    """Worker processes of a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(re.sub(r".*\) ", "", stat.read_text()).split()[1])
            words = (stat.parent / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if parent == pid and b"spawn_main" in words:
            found.append(int(stat.parent.name))
    return found


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
        start_new_session=True,
        # A shell starts what it runs in the background with the signal ignored, which is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def errors_of(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    with process.stderr:
        return process.stderr.read()


def names(path: Path) -> list[str]:
    return [Path(json.loads(line)["file"]).name for line in path.read_text().splitlines()]


ALL = [f"{i:03}.wav" for i in range(COUNT)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_killed_run_goes_on_where_it_stopped(
    jobs: int, voicetone: Run, toy: Path, tmp_path: Path
) -> None:
    place = many_copies(tmp_path, COUNT)
    target = tmp_path / "x.jsonl"
    outputs = ("--jsonl", target, "--rttm", f"{tmp_path}/rttm/", "--csv", tmp_path / "x.csv")
    process = start("analyze", place, "--model", toy, "--jobs", jobs, *outputs)
    wait_for_lines(target, 3, process)
    os.killpg(process.pid, signal.SIGKILL)
    errors_of(process)
    assert process.wait(60) == -signal.SIGKILL
    kept = target.read_bytes()
    kept = kept[: kept.rindex(b"\n") + 1]
    done = kept.count(b"\n")
    assert 3 <= done < COUNT
    assert not (tmp_path / "x.csv").exists()
    with target.open("ab") as out:  # and a half line, as a full disk or a kill would leave it
        out.write(b'{"file":"' + bytes(str(place), "utf-8"))

    again = voicetone("analyze", place, "--jobs", 1, *outputs)
    assert again.code == 0, again.err
    assert f"{done} of {COUNT} recordings were analysed before" in again.err
    assert names(target) == ALL
    assert set(kept.splitlines()) <= set(target.read_bytes().splitlines())
    assert len(list((tmp_path / "rttm").glob("*.rttm"))) == COUNT
    rows = (tmp_path / "x.csv").read_text().splitlines()
    assert len({row.split(",")[0] for row in rows[1:]}) == COUNT


def test_a_killed_run_without_json_lines_goes_on_too(
    voicetone: Run, toy: Path, tmp_path: Path
) -> None:
    place = many_copies(tmp_path, COUNT)
    target, partial = tmp_path / "x.csv", tmp_path / "x.csv.partial.jsonl"
    process = start("analyze", place, "--model", toy, "--jobs", 1, "--csv", target)
    wait_for_lines(partial, 3, process)
    process.kill()
    errors_of(process)
    process.wait(60)
    again = voicetone("analyze", place, "--jobs", 1, "--csv", target)
    assert again.code == 0, again.err
    assert "recordings were analysed before" in again.err
    assert not partial.exists()
    rows = target.read_text().splitlines()
    assert len({row.split(",")[0] for row in rows[1:]}) == COUNT


@pytest.mark.parametrize("jobs", [1, 2])
def test_control_c_ends_it_cleanly(jobs: int, toy: Path, tmp_path: Path) -> None:
    place = many_copies(tmp_path, COUNT)
    target = tmp_path / "x.jsonl"
    process = start("analyze", place, "--model", toy, "--jsonl", target, "--jobs", jobs)
    wait_for_lines(target, 1, process)
    os.killpg(process.pid, signal.SIGINT)
    errors = errors_of(process)
    assert process.wait(60) == 130
    assert "Traceback" not in errors
    assert "goes on from here" in errors


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_lost_worker_costs_one_file(toy: Path, tmp_path: Path) -> None:
    place = many_copies(tmp_path, COUNT)
    target = tmp_path / "x.jsonl"
    process = start("analyze", place, "--model", toy, "--jsonl", target, "--jobs", 2)
    wait_for_lines(target, 2, process)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    errors = errors_of(process)
    assert process.wait(120) == 3
    lost = re.findall(r"(\d+\.wav): the process that analysed it died \(SIGKILL\)", errors)
    assert len(lost) == 1
    assert names(target) == [name for name in ALL if name not in lost]
    assert f"1 of {COUNT} recordings failed" in errors


def test_what_is_done_is_not_done_again(folder: Path, voicetone: Run, tmp_path: Path) -> None:
    target = tmp_path / "x.jsonl"
    voicetone("analyze", folder, "--jsonl", target)
    before = target.stat()
    done = voicetone("analyze", folder, "--jsonl", target)
    assert "3 of 3 recordings were analysed before" in done.err
    assert target.stat().st_mtime_ns == before.st_mtime_ns
    assert "a.wav" in done.out
    forced = voicetone("analyze", folder, "--jsonl", target, "--force")
    assert "before" not in forced.err


def test_a_changed_recording_or_option_is_analysed_again(
    folder: Path, voicetone: Run, tmp_path: Path
) -> None:
    target = tmp_path / "x.jsonl"
    voicetone("analyze", folder, "--jsonl", target)
    write_audio(folder / "a.wav", noise(7.5))
    done = voicetone("analyze", folder, "--jsonl", target)
    assert "2 of 3 recordings were analysed before" in done.err
    first = json.loads(target.read_text().splitlines()[0])
    assert (first["file"], first["duration"]) == (str(folder / "a.wav"), 7.5)
    done = voicetone("analyze", folder, "--jsonl", target, "--channel-names", "customer")
    assert "before" not in done.err


def test_a_json_folder_is_taken_up(folder: Path, voicetone: Run, tmp_path: Path) -> None:
    out = tmp_path / "json"
    first = voicetone("analyze", folder, "--json", f"{out}/", "--csv", tmp_path / "1.csv")
    (out / "b.json").write_text('{"file": "half')
    second = voicetone("analyze", folder, "--json", f"{out}/", "--csv", tmp_path / "2.csv")
    assert first.code == second.code == 0
    assert "2 of 3 recordings were analysed before" in second.err
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()
    assert json.loads((out / "b.json").read_text())["duration"] == 4.0


def test_a_new_output_of_a_finished_run(folder: Path, voicetone: Run, tmp_path: Path) -> None:
    target = tmp_path / "x.jsonl"
    voicetone("analyze", folder, "--jsonl", target)
    done = voicetone(
        "analyze", folder, "--jsonl", target, "--html", tmp_path / "h", "--rttm", tmp_path / "r"
    )
    assert "3 of 3" in done.err
    assert len(list((tmp_path / "h").rglob("*.html"))) == 3
    assert len(list((tmp_path / "r").rglob("*.rttm"))) == 3
    fresh = tmp_path / "fresh"
    voicetone("analyze", folder, "--html", fresh / "h", "--rttm", fresh / "r")
    assert (fresh / "r" / "a.rttm").read_text() == (tmp_path / "r" / "a.rttm").read_text()
    shape = [len((where / "h" / "a.html").read_text()) for where in (tmp_path, fresh)]
    assert shape[0] == shape[1]


def test_the_picture_of_a_known_result_shows_its_channels(call: Path, toy: Path) -> None:
    overview = Overview()
    result = analyze(call, load(toy), channels=[2], overview=overview)
    peaks = read_peaks(call, None, [channel.channel for channel in result.channels])
    np.testing.assert_array_equal(peaks, overview.peaks())
    assert np.abs(peaks - read_peaks(call, None, [1])).max() > 0.1


def test_another_runs_results_stay(folder: Path, voicetone: Run, tmp_path: Path) -> None:
    target = tmp_path / "x.jsonl"
    voicetone("analyze", folder / "a.wav", "--jsonl", target)
    voicetone("analyze", folder / "b.flac", "--jsonl", target)
    assert names(target) == ["a.wav", "b.flac"]


def test_a_page_of_another_result_is_made_again(voicetone: Run, call: Path, tmp_path: Path) -> None:
    lines, page = tmp_path / "r.jsonl", tmp_path / "p.html"
    both = ("analyze", call, "--channel-names", "agent,customer", "--html", page)
    voicetone(*both, "--jsonl", lines)
    one = page.read_text("utf-8")
    voicetone(*both, "--analyse", "all")
    assert page.read_text("utf-8") != one
    voicetone(*both, "--jsonl", lines)
    assert page.read_text("utf-8") == one
    before = page.stat().st_mtime_ns
    voicetone(*both, "--jsonl", lines)
    assert page.stat().st_mtime_ns == before
