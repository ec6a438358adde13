"""A pretraining from folders of audio to a front end, a report and probes."""

from __future__ import annotations

import csv
import json
import shutil
from collections import defaultdict
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from training import toy_corpus
from voicetone.errors import DataError
from voicetone.training import pretrain_run
from voicetone.training.pretrain_audio import Audio, folder_of, gather_audio, listed, split
from voicetone.training.pretrain_probes import _question, learnt_from
from voicetone.training.pretrain_recipe import PretrainRecipe, ProbePart
from voicetone.training.pretrain_state import load_front
from voicetone.training.recipe import dataclass_from, read_recipe
from voicetone.training.run import train
from voicetone.types import Utterance

RATE = 16_000
RECIPE = """
kind = "pretrain"
name = "tiny"
audio = ["toy", "wild"]
seed = 1
piece = 1.0
threads = 1
jobs = 1
save_every = 2
held_out = 0.2
noise_folds = [1]
[front]
width = 8
stem = [2, 4]
dilations = [1, 2]
[settings]
steps = 4
batch = 3
frames = 32
codes = 16
dimension = 4
whiten = 8
mask_chance = 0.2
mask_span = 3
context_width = 8
settle = 2
[[probes]]
corpus = "toy"
asks = "emotion"
[[probes]]
corpus = "toy"
asks = "digit"
[[probes]]
corpus = "wild"
asks = "speaker"
"""


def _noise(path: Path, seconds: float, seed: int, level: float = 0.1, channels: int = 1) -> None:
    sound = np.random.default_rng(seed).normal(0, level, (int(seconds * RATE), channels))
    soundfile.write(path, sound.astype(np.float32), RATE)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder: a corpus with labels, recordings without any, noises and rooms."""
    root = tmp_path_factory.mktemp("world")
    toy_corpus.make(root / "toy", speakers=5, each=2)
    for name, column in (("noise_esc10", "fold"), ("rir", "kind")):
        (root / name).mkdir()
        _noise(root / name / "1.flac", 0.5, 1)
        with (root / name / "manifest.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("file", column), ("1.flac", "1")])
    wild = root / "wild"
    (wild / "deep").mkdir(parents=True)
    _noise(wild / "long.wav", 3.5, 2)
    _noise(wild / "deep" / "short.wav", 0.6, 3)
    _noise(wild / "call.wav", 0.8, 4, channels=2)
    _noise(wild / "silent.wav", 0.5, 5, level=0.0)
    _noise(wild / "blink.wav", 0.05, 6)
    shutil.copy(wild / "long.wav", wild / "twin.wav")
    (wild / "broken.wav").write_bytes(b"RIFF\0\0\0\0WAVEjunk")
    (wild / "notes.txt").write_text("no audio")
    (root / "tiny.toml").write_text(RECIPE)
    return root


@pytest.fixture(autouse=True)
def _there(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICETONE_DATA", str(world))
    monkeypatch.setenv("VOICETONE_CACHE", str(world / "cache"))


def gathered(*names: str, **more: object) -> Audio:
    wanted = {"piece": 1.0, "channels": "mixed", "most_hours": 1.0, "seed": 0, **more}
    return gather_audio(names, **wanted)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def run(world: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOICETONE_DATA", str(world))
        patch.setenv("VOICETONE_CACHE", str(world / "cache"))
        return train(world / "tiny.toml", [f"out={world / 'run'}"])


def test_a_run_holds_what_it_should(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert 0 <= metrics["masked"]["accuracy"] <= 1
    assert 0 < metrics["codes"]["used"] <= 1
    assert metrics["audio"]["left_out"] >= 4
    assert metrics["steps"] == 4
    front = load_front(run / "front.safetensors")
    assert front.config.width == 8
    assert not list((run / "checkpoints").iterdir())
    folds = json.loads((run / "folds.json").read_text())["folds"][0]
    assert len({i.split("-")[0] for i in folds["test"]}) == 1  # one of five speakers held out
    report = (run / "report.md").read_text()
    assert "| always the most frequent code |" in report
    assert "4 of 5 (transductive); UAR on the others alone: log-mel" in report
    log = (run / "log.txt").read_text()
    assert "broken.wav" in log
    assert "hidden frames named right" in log


def test_probes_stand_beside_chance_and_those_that_can_not_be_asked_are_named(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    (entry,) = metrics["probes"]
    assert (entry["corpus"], entry["asks"], entry["speakers"]) == ("toy", "emotion", 5)
    assert entry["chance"] == pytest.approx(1 / 3, abs=1e-4)
    assert set(entry["from"]) == {"pretrained", "untrained", "log-mel"}
    assert entry["from"]["log-mel"]["uar"]["mean"] > 0.8  # tones of three heights
    assert entry["tested_on"] == "other speakers"
    starts = [line.partition(":")[2].partition(":")[0] for line in metrics["cautions"]]
    assert " speaker is not asked" in starts, metrics["cautions"]
    assert " digit is not asked" in starts


def test_a_run_is_not_overwritten_and_a_finished_one_not_trained_again(
    run: Path, world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = (run / "front.safetensors").read_bytes()
    train(world / "tiny.toml", [f"out={run}"])
    assert "already trained" in capfd.readouterr().err
    assert (run / "front.safetensors").read_bytes() == before
    with pytest.raises(DataError, match=r"run of other settings: settings\.rate was"):
        train(world / "tiny.toml", [f"out={run}", "settings.rate=0.001"])


def test_a_killed_run_goes_on_and_gives_the_same(
    run: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = pretrain_run.pretrain, world / "killed"

    def killed(*arguments: object, **more: object) -> object:
        def stop(step: int, _: float) -> None:
            if step == 3:
                raise KeyboardInterrupt

        return whole(*arguments[:6], stop, *arguments[7:], **more)  # type: ignore[arg-type]

    monkeypatch.setattr(pretrain_run, "pretrain", killed)
    with pytest.raises(KeyboardInterrupt):
        train(world / "tiny.toml", [f"out={out}"])
    assert list((out / "checkpoints").iterdir())
    monkeypatch.undo()
    _again(monkeypatch, world)
    train(world / "tiny.toml", [f"out={out}"])
    one, two = (load_front(p / "front.safetensors").state_dict() for p in (run, out))
    assert all(torch.equal(one[key], two[key]) for key in one)


def _again(monkeypatch: pytest.MonkeyPatch, world: Path) -> None:
    monkeypatch.setenv("VOICETONE_DATA", str(world))
    monkeypatch.setenv("VOICETONE_CACHE", str(world / "cache"))


def test_what_can_not_be_used_costs_a_line_each(world: Path) -> None:
    audio = gathered("wild")
    lines = "\n".join(audio.cautions)
    assert len(audio.cautions) == 4
    for name, reason in (
        ("broken.wav", "damaged or truncated"),
        ("silent.wav", "silent"),
        ("blink.wav", "shorter than"),
        ("twin.wav", "the same recording as"),
    ):
        assert any(name in line and reason in line for line in audio.cautions), lines
    found = defaultdict(list)
    for u, seconds in zip(audio.pieces, audio.seconds, strict=True):
        found[u.audio.name].append((u.start, u.end, round(seconds, 3)))
    assert found["long.wav"] == [(i * 0.875, (i + 1) * 0.875, 0.875) for i in range(4)]
    assert found["short.wav"] == [(0.0, None, 0.6)]
    assert len({u.id for u in audio.pieces}) == len(audio.pieces) == 6
    assert all(str(world) not in u.id for u in audio.pieces)


def test_a_table_without_labels_will_do_and_its_bad_rows_cost_a_line(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    _noise(folder / "a.wav", 0.5, 1)
    _noise(folder / "b.wav", 0.5, 2)
    with (folder / "manifest.csv").open("w", newline="") as file:
        table = [("file", "start"), ("a.wav", ""), ("b.wav", "soon"), ("gone.wav", "")]
        csv.writer(file).writerows(table)
    audio = gathered(str(folder))
    assert [u.audio.name for u in audio.pieces] == ["a.wav", "b.wav"]
    assert len(audio.cautions) == 2
    assert any("soon" in line and "manifest.csv:3" in line for line in audio.cautions)
    assert any("gone.wav" in line for line in audio.cautions)


def test_channels_are_mixed_or_each_a_recording(world: Path) -> None:
    mixed = [u for u in gathered("wild").pieces if u.audio.name == "call.wav"]
    each = [u for u in gathered("wild", channels="each").pieces if u.audio.name == "call.wav"]
    assert [u.channel for u in mixed] == [None]
    assert [u.channel for u in each] == [1, 2]


def test_of_too_much_audio_pieces_are_drawn() -> None:
    audio = gathered("wild", most_hours=2.0 / 3600)
    assert 0 < sum(audio.seconds) <= 2.0
    assert "most_hours" in audio.cautions[-1]
    assert audio == gathered("wild", most_hours=2.0 / 3600)
    assert audio != gathered("wild", most_hours=2.0 / 3600, seed=1)


def test_folders_of_one_name_keep_their_files_apart(world: Path, tmp_path: Path) -> None:
    (tmp_path / "wild" / "deep").mkdir(parents=True)
    _noise(tmp_path / "wild" / "deep" / "short.wav", 0.6, 33)
    audio = gathered("wild", str(tmp_path / "wild"))
    assert len({u.id for u in audio.pieces}) == len(audio.pieces) == 7


def test_nothing_to_learn_from_is_told(world: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such recordings"):
        gathered("nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no audio that can be learnt from \(.*no audio in this"):
        gathered(str(tmp_path / "empty"))
    _noise(tmp_path / "empty" / "one.wav", 3.0, 9)
    pieces = gathered(str(tmp_path / "empty")).pieces
    assert len(pieces) == 3
    with pytest.raises(DataError, match="two speakers, or two recordings"):
        split(pieces, 0.1, 0.0, 0)


def test_a_name_is_a_folder_of_the_data_or_a_path(world: Path) -> None:
    assert folder_of("toy") == (world / "toy").resolve()
    assert folder_of(str(world / "wild")) == world / "wild"


def _people(*counts: int, corpus: str = "c") -> list[Utterance]:
    return [
        Utterance(f"{corpus}/{s}-{i}", Path(f"{s}-{i}.wav"), corpus, speaker=f"{corpus}/{s}")
        for s, count in enumerate(counts)
        for i in range(count)
    ]


def test_no_speaker_stands_on_two_sides() -> None:
    pieces = [*_people(*[5] * 8), *_people(3, 4, 5, corpus="d")]
    # Pieces of one recording whose speaker is not known stay together, too.
    pieces += [Utterance(f"w/{i // 3}.wav@{i % 3}", Path(f"{i // 3}.wav"), "w") for i in range(30)]
    for seed in range(5):
        parts = split(pieces, 0.1, 0.25, seed)
        sides = {
            u.id: side
            for side in ("train", "validation", "held_out")
            for u in pieces
            if u.id in getattr(parts, side)
        }
        assert len(sides) == len(pieces)
        of = defaultdict(set)
        for u in pieces:
            of[u.speaker or u.id.split("@")[0]].add(sides[u.id])
        assert all(len(s) == 1 for s in of.values())
        held = [u.speaker for u in pieces if sides[u.id] == "held_out"]
        assert len({s for s in held if s and s.startswith("c/")}) == 2
        assert len({s for s in held if s and s.startswith("d/")}) == 1
        assert 0 < len(parts.validation) <= 0.1 * len(pieces)
    assert split(pieces, 0.1, 0.25, 0) != split(pieces, 0.1, 0.25, 1)
    assert not split(pieces, 0.1, 0.0, 0).held_out


def test_one_big_group_never_takes_all() -> None:
    parts = split(_people(100, 2), 0.01, 0.0, 0)
    assert len(parts.train) == 100
    assert len(parts.validation) == 2


def test_a_probe_takes_the_emotions_it_is_told(world: Path) -> None:
    utterances, _ = listed("toy")
    part = ProbePart("toy", "emotion", ("anger", "sadness"))
    question = _question(utterances, part)
    assert not isinstance(question, str)
    assert question.classes == ("anger", "sadness")
    assert {utterances[i].emotion for i in question.rows} == {"anger", "sadness"}


def test_who_was_heard_is_known_by_name_or_by_recording() -> None:
    named, unnamed, other = _people(1, 1, 1)
    learnt = learnt_from([named, replace(unnamed, speaker=None)])
    assert learnt.has(replace(named, audio=Path("elsewhere.wav")))
    assert learnt.has(unnamed)
    assert not learnt.has(other)


@pytest.mark.parametrize(
    "word",
    ["piece=0", "validation=1.0", "settings.frames=33", "settings.codes=1", "front.kernel=1",
     "audio=[]", "settings.context=rnn", "settings.steps=0", "front.dilations=[]", "held_out=1.0"],
)  # fmt: skip
def test_values_out_of_bounds_are_refused(world: Path, word: str) -> None:
    data = read_recipe(world / "tiny.toml", [word])
    with pytest.raises(DataError):
        dataclass_from(PretrainRecipe, data, world / "tiny.toml")


@pytest.mark.parametrize("name", ["calls@2024/{}", "calls#3/{}", "no {}"])
def test_a_folder_s_name_does_not_make_one_recording_of_many(name: str) -> None:
    pieces = [
        Utterance(id=f"{name.format(n)}{end}", audio=Path("x"), corpus="c")
        for n in range(20)
        for end in ("#1@0.000", "#1@8.000", "#2@0.000", "@0.000~2", "@8.000~2", "~3")
    ]
    found = split(pieces, 0.2, 0.0, 0)
    names = [name.format(n) for n in range(20)]
    sides = [{n for n in names if any(_of(key, n) for key in p)} for p in astuple(found)]
    assert len(sides[0] & sides[1]) == 0
    assert sorted(map(len, sides)) == [0, 4, 16]


def _of(key: str, name: str) -> bool:
    return key.startswith(name) and not key.removeprefix(name)[:1].isdigit()
