"""`voicetone analyze --split-speakers`: parties of one channel, marked as estimated everywhere."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import textgrids
from tests.cli.conftest import Run, in_process, write_audio
from tests.inference.test_split_file import TALK, talk, voice

from voicetone.cli.splitting import caution
from voicetone.inference.split_file import Splitting


@pytest.fixture(autouse=True)
def no_dvectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICETONE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def mono(tmp_path: Path) -> Path:
    """Two voices on one channel, 24 s."""
    return write_audio(tmp_path / "mono.wav", talk(*TALK), 16_000, subtype="FLOAT")


def test_every_format_says_that_it_is_estimated(voicetone: Run, mono: Path, tmp_path: Path) -> None:
    place = tmp_path / "out"
    kinds = {"json": "json", "rttm": "rttm", "textgrid": "TextGrid", "audacity": "txt"}
    kinds |= {"csv": "csv", "html": "html"}
    paths = {kind: place / f"a.{suffix}" for kind, suffix in kinds.items()}
    options = [word for kind, path in paths.items() for word in (f"--{kind}", path)]
    done = voicetone("analyze", mono, "--split-speakers", 2, *options)
    assert done.code == 0
    (line,) = done.errors
    assert "three times as much speech to the wrong one" in line
    assert "channel 1  speaker 1 (estimated)" in done.out
    assert "Who speaks is an estimate" in " ".join(done.out.split())
    data = json.loads(paths["json"].read_text("utf-8"))
    assert data["split"] | {"turns": []} == {
        "estimated": True,
        "encoder": "statistics-1",
        "asked": 2,
        "speakers": 2,
        "turns": [],
    }
    assert [c["name"] for c in data["channels"]] == ["speaker 1", "speaker 2"]
    assert all(c["estimated"] is True and c["channel"] == 1 for c in data["channels"])
    rttm = paths["rttm"].read_text("utf-8").splitlines()
    assert {line.split()[7].partition(":")[0] for line in rttm} == {
        "speaker_1_(estimated)",
        "speaker_2_(estimated)",
    }
    assert all(len(line.split()) == 10 for line in rttm)
    grid = textgrids.TextGrid(paths["textgrid"])
    assert set(grid) == {
        f"speaker {n} (estimated) {kind}" for n in (1, 2) for kind in ("sentiment", "emotion")
    }
    labels = [line.split("\t")[2] for line in paths["audacity"].read_text("utf-8").splitlines()]
    assert all(label.startswith(("speaker 1 (est", "speaker 2 (est")) for label in labels)
    with paths["csv"].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["name"], row["estimated"]) for row in rows} == {
        ("speaker 1", "true"),
        ("speaker 2", "true"),
    }
    page = paths["html"].read_text("utf-8")
    for words in (
        "1 channel, 2 speakers (estimated)",
        "Speaker 1 (estimated)",
        "Who speaks is an estimate",
        "told apart by plain statistics",
    ):
        assert words in page


def test_without_a_split_nothing_is_estimated(voicetone: Run, mono: Path, tmp_path: Path) -> None:
    done = voicetone("analyze", mono, "--json", tmp_path / "a.json", "--csv", tmp_path / "a.csv")
    assert "estimated" not in done.out
    assert "estimated" not in (tmp_path / "a.json").read_text("utf-8")
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        assert {row["estimated"] for row in csv.DictReader(file)} == {"false"}


def test_a_run_goes_on_only_with_the_same_split(voicetone: Run, mono: Path, tmp_path: Path) -> None:
    lines, page = tmp_path / "a.jsonl", tmp_path / "a.html"
    split = ("--split-speakers", "2", "--split-encoder", "statistics")

    def speakers() -> list[str]:
        return [c["name"] for c in json.loads(lines.read_text("utf-8"))["channels"]]

    def again(*options: str) -> bool:
        done = voicetone("analyze", mono, "--jsonl", lines, *options)
        assert done.code == 0
        return any("analysed before" in line for line in done.errors)

    assert not again()
    assert speakers() == [None]
    assert not again(*split)
    assert speakers() == ["speaker 1", "speaker 2"]
    assert again(*split)
    assert not again("--split-speakers", "auto", "--split-encoder", "statistics")
    # What is drawn for a result that is there already is what would have been drawn with it.
    assert not again(*split, "--html", str(page))
    first = page.read_text("utf-8")
    page.unlink()
    assert again(*split, "--html", str(page))
    assert page.read_text("utf-8") == first


def test_two_at_once_and_standard_input(
    voicetone: Run, mono: Path, tmp_path: Path, toy: Path
) -> None:
    other = write_audio(tmp_path / "one.wav", voice(1, 4.0), 16_000, subtype="FLOAT")
    split = ("--split-speakers", "2", "--quiet")
    both = voicetone("analyze", mono, other, *split, "--jobs", 2, "--jsonl", "-")
    assert both.code == 0
    found = [json.loads(line) for line in both.out.splitlines()]
    alone = voicetone("analyze", mono, *split, "--json", "-")
    (same,) = [data for data in found if data["file"] == str(mono)]
    assert json.loads(alone.out) == same
    with mono.open("rb") as file:
        words = ["analyze", "-", *split, "--json", "-", "--model", toy]
        piped = in_process(words, stdin=file)
    assert json.loads(piped.stdout)["channels"] == same["channels"]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--split-speakers", "10"), 2, "--split-speakers 10: give how many there are, 2 to 8"),
        (("--split-speakers", "1"), 2, "2 to 8, or auto"),
        (("--split-speakers", "many"), 2, "2 to 8, or auto"),
        (("--split-encoder", "dvector"), 2, "is for --split-speakers"),
        (("--split-speakers", "2", "--split-encoder", "mfcc"), 2, "use statistics or dvector"),
        (("--split-speakers", "2", "--split-encoder", "dvector"), 3, "not converted yet"),
    ],
)
def test_options_that_can_not_be(
    voicetone: Run, mono: Path, options: tuple[str, ...], code: int, said: str
) -> None:
    done = voicetone("analyze", mono, *options)
    assert (done.code, len(done.errors)) == (code, 1)
    assert said in done.errors[0]


def test_two_channels_are_a_usage_error_one_of_them_is_not(voicetone: Run, tmp_path: Path) -> None:
    samples = talk((0, 3.0), (None, 1.0), (1, 3.0))
    path = write_audio(tmp_path / "two.wav", np.stack([samples, samples], 1), 16_000)
    done = voicetone("analyze", path, "--split-speakers", 2, "--quiet")
    assert done.code == 2
    assert "2 channels would be analysed" in done.errors[0]
    assert voicetone("analyze", path, "--split-speakers", 2, "--channels", 2).code == 0


def test_the_caution_says_what_was_measured(root: Path) -> None:
    line = caution(Splitting(2, "statistics"), None) or ""
    assert "about three times as much" in line
    rows = json.loads((root / "docs/results/speaker-split.json").read_text("utf-8"))["rows"]
    wrong = {
        row["encoder"].partition("-")[0]: row["confusion"]
        for row in rows
        if (row["audio"], row["speech"], row["speakers"])
        == ("RAVDESS mixtures, all", "heard", "2, told")
    }
    assert 2.5 < wrong["statistics"] / wrong["dvector"] < 3.5
    assert caution(Splitting(2, "statistics"), "statistics") is None
    assert caution(Splitting(2, "dvector"), None) is None
