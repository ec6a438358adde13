"""Voice tone with all its stages, from recordings to a bundle, on made-up voices."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from training.toy_voices import RATE, made_world, recipe_text, table, voice
from voicetone.errors import DataError, UsageError
from voicetone.features.spectral import SpectralConfig
from voicetone.inference.file import analyze
from voicetone.pretrained import load
from voicetone.training.recipe import dataclass_from
from voicetone.training.run import train
from voicetone.training.tone_corpora import check_heard_once, fold_table, read_corpora
from voicetone.training.tone_run import fold_folder, gather, stage_folder
from voicetone.training.tone_weights import read_weights
from voicetone.training.voice_recipe import VoiceRecipe
from voicetone.training.voice_scores import words_scores
from voicetone.training.voice_speech import parts_of, read_words, speech_of
from voicetone.training.voice_stages import learn, tone_net

STAGES = """room = 0.5
codec = 0.5
[[stages.words]]
name = "{root}/digits"
licence = "CC0"
folds = 2
[[stages.withheld]]
corpus = "voices"
groups = 2
[stages.pretrain]
steps = 3
batch = 4
frames = 48
codes = 8
dimension = 4
context_width = 8
settle = 2
[stages.asr]
steps = 4
batch = 4
pool = 2
width = 8
layers = 1
heads = 2
kernel = 3
past = 5
decoder_width = 8
decoder_heads = 2
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = made_world(tmp_path_factory.mktemp("world"))
    (root / "digits").mkdir()
    rng, rows = np.random.default_rng(1), []
    for speaker in "wxyz":
        for take in range(3):
            file = f"{speaker}-{take}.flac"
            soundfile.write(root / "digits" / file, voice(180.0, 0.9, rng), RATE)
            part = "test" if take == 0 else "train"
            said = {"file": file, "speaker": speaker, "transcript": "nought"}
            rows.append({**said, "split": part, "language": "en"})
    table(root / "digits", rows)
    (root / "tiny.toml").write_text(
        recipe_text("voice-tone", "tiny-voice", root / "voices") + STAGES.format(root=root)
    )
    return root


def _train(world: Path, patch: pytest.MonkeyPatch, out: str, *more: str) -> Path:
    patch.setenv("VOICETONE_DATA", str(world))
    patch.setenv("VOICETONE_CACHE", str(world / "cache"))
    return train(world / "tiny.toml", [f"out={world / out}", *more])


@pytest.fixture(scope="module")
def run(world: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        return _train(world, patch, "run", "int8=true")


@pytest.fixture
def recipe(world: Path, monkeypatch: pytest.MonkeyPatch) -> VoiceRecipe:
    import tomllib

    monkeypatch.setenv("VOICETONE_DATA", str(world))
    monkeypatch.setenv("VOICETONE_CACHE", str(world / "cache"))
    path = world / "tiny.toml"
    return dataclass_from(VoiceRecipe, tomllib.loads(path.read_text()), path)


def test_a_run_tells_of_every_stage(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["scores"]["voices/sentiment"]["clips"] == 24
    stages = metrics["stages"]
    assert len(stages["pretrain"]) == len(stages["asr"]) == 2
    groups = {part["group"]: part for part in stages["words"]}
    # Both folds hold two of four speakers out of the words; others' test part is known.
    assert groups["digits, new speaker"]["clips"] == 2 * 2 * 3
    assert groups["digits, known speaker"]["clips"] == 2 * 2
    assert groups["voices, new sentence"]["words"] > 0
    assert "voices, new speaker, new sentence" in groups
    assert "digits, known speaker: WER" in (run / "log.txt").read_text()


def test_stages_hear_nobody_whom_the_fold_holds_out(recipe: VoiceRecipe) -> None:
    corpora = read_corpora(recipe)
    labelled = [u for m in corpora for u in m]
    folds = fold_table(recipe, corpora)
    speech = speech_of(recipe, folds, labelled, read_words(recipe))
    for index, fold in enumerate(folds.folds):
        part = parts_of(recipe, speech, index)
        learnt = [u for u, p in zip(speech.utterances, part, strict=True) if p == "train"]
        held = {u.speaker for u in labelled if u.id in (*fold.test, *fold.validation)}
        assert {u.speaker for u in learnt}.isdisjoint(held)
        assert not any(u.partition == "test" for u in learnt)
        sentences = {u.sentence for u in learnt if u.corpus == "voices"}
        assert sentences == {("2", "1")[index]}
        words = {u.speaker for u in learnt if u.corpus == "digits"}
        assert len(words) == 2
    everyone = parts_of(recipe, speech, None)
    assert (everyone[:24] == "train").all()
    assert (everyone == "known speaker").sum() == 4


def test_front_end_and_encoder_stay_as_the_stages_left_them(run: Path) -> None:
    from voicetone.training.asr_fit import load_asr

    stage = stage_folder(run, 0)
    asr = load_asr(stage / "asr.safetensors")
    net, _ = read_weights(run / "checkpoints" / "00.safetensors")
    assert net.encoder.conformer is not None
    for mine, its in (
        (net.encoder.front, asr.front),
        (net.encoder.conformer, asr.conformer),
    ):
        for one, other in zip(mine.parameters(), its.parameters(), strict=True):
            assert one.equal(other)
        for one, other in zip(mine.buffers(), its.buffers(), strict=True):
            assert one.equal(other)


def test_the_bundle_in_eight_bits_hears_a_file(run: Path, world: Path) -> None:
    predictor = load(str(run / "bundle"))
    assert b"QuantizeLinear" in (run / "bundle" / "encoder.onnx").read_bytes()
    assert any("digits" in corpus.corpus for corpus in predictor.spec.training)
    result = analyze(world / "voices" / "a-anger-0.flac", predictor)
    assert result.channels[0].windows


def test_stages_that_are_there_are_not_trained_again(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = _train(world, monkeypatch, "stopped", "final=false")
    kept = [stage_folder(out, 1) / name for name in ("front.safetensors", "asr.safetensors")]
    before = [path.stat().st_mtime_ns for path in kept]
    predicted = (fold_folder(out, 1) / "predictions.parquet").read_bytes()
    (fold_folder(out, 1) / "done").unlink()
    _train(world, monkeypatch, "stopped", "final=false")
    assert [path.stat().st_mtime_ns for path in kept] == before
    assert (fold_folder(out, 1) / "predictions.parquet").read_bytes() == predicted


def test_folds_side_by_side_give_the_same(
    run: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = _train(world, monkeypatch, "beside", "final=false", "jobs=2")
    for index in range(2):
        one, other = (
            pq.read_table(fold_folder(folder, index) / "predictions.parquet").to_pydict()
            for folder in (run, beside)
        )
        assert one["id"] == other["id"]
        np.testing.assert_allclose(one["sentiment_0"], other["sentiment_0"], atol=1e-5)


@pytest.mark.parametrize("gone", ["pretrain", "asr"])
def test_a_stage_can_be_left_out(
    world: Path, monkeypatch: pytest.MonkeyPatch, gone: str, tmp_path: Path
) -> None:
    text = (world / "tiny.toml").read_text()
    head, _, rest = text.partition(f"[stages.{gone}]\n")
    _, bracket, after = rest.partition("[")
    path = tmp_path / "less.toml"
    path.write_text(head + bracket + after)
    monkeypatch.setenv("VOICETONE_DATA", str(world))
    monkeypatch.setenv("VOICETONE_CACHE", str(world / "cache"))
    more = ["stages.asr.train_front=true"] if gone == "pretrain" else []
    out = train(path, [f"out={tmp_path / 'run'}", "final=false", *more])
    stages = json.loads((out / "metrics.json").read_text())["stages"]
    assert gone not in stages
    assert ("words" in stages) == (gone != "asr")


def test_a_final_stage_holds_only_the_words_test_part_out(
    recipe: VoiceRecipe, run: Path, tmp_path: Path
) -> None:
    import torch

    material = gather(recipe, final=False)
    speech = speech_of(recipe, material.table, material.utterances, material.words)
    learnt = learn(
        recipe, speech, material.store, None, tmp_path, 3, lambda *_: None, torch.device("cpu")
    )
    assert learnt.asr is not None
    assert learnt.front.config.features == SpectralConfig().size
    rows = pq.read_table(tmp_path / "words.parquet").to_pylist()
    assert {row["part"] for row in rows} == {"known speaker"}
    assert words_scores([{**row, "fold": 0} for row in rows])[0]["clips"] == 4


def test_sentences_to_withhold_must_be_there(
    world: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "odd.toml"
    path.write_text((world / "tiny.toml").read_text().replace('corpus = "voices"', 'corpus = "x"'))
    monkeypatch.setenv("VOICETONE_DATA", str(world))
    monkeypatch.setenv("VOICETONE_CACHE", str(world / "cache"))
    with pytest.raises(DataError, match="no sentences of 'x'"):
        train(path, [f"out={tmp_path / 'run'}", "final=false"])


def test_sentiments_alone_on_the_partitions_of_a_corpus(
    world: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rng, rows = np.random.default_rng(2), []
    for speaker, split in (("p", "train"), ("q", "validation"), ("r", "test")):
        for number, sentiment in enumerate(("positive", "neutral", "negative")):
            file = f"{speaker}{number}.flac"
            soundfile.write(tmp_path / file, voice(150.0 + 50 * number, 1.0, rng), RATE)
            said = {"file": file, "speaker": speaker, "sentiment": sentiment, "split": split}
            rows.append({**said, "transcript": f"take {number}"})
    table(tmp_path, rows)
    text = (world / "tiny.toml").read_text()
    text = text.replace(f"{world}/voices", str(tmp_path)).replace("folds = 2\nvalidation = 1\n", "")
    text = text.replace("[network]", "official = true\n[network]")
    text = text.replace('[[stages.withheld]]\ncorpus = "voices"\ngroups = 2\n', "")
    path = tmp_path / "said.toml"
    path.write_text(text)
    monkeypatch.setenv("VOICETONE_DATA", str(world))
    monkeypatch.setenv("VOICETONE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError, match="final=false"):
        train(path, [f"out={tmp_path / 'run'}"])
    out = train(path, [f"out={tmp_path / 'run'}", "final=false"])
    (name,) = (out / "tables").iterdir()
    kept = pq.read_table(name).to_pydict()
    assert kept["truth"] == ["positive", "neutral", "negative"]
    assert set(json.loads((out / "metrics.json").read_text())["scores"]) == {
        f"{tmp_path.name}/sentiment"
    }


def test_words_of_a_held_out_speaker_are_refused(
    world: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spare = tmp_path / "spare"
    spare.mkdir()
    for number, name in enumerate(("a-anger-0", "b-anger-0")):
        shutil.copy(world / "voices" / f"{name}.flac", spare / f"{number}.flac")
    rows = [{"file": f"{k}.flac", "speaker": f"n{k}", "transcript": "one"} for k in range(2)]
    table(spare, rows)
    path = tmp_path / "leak.toml"
    path.write_text((world / "tiny.toml").read_text().replace(f"{world}/digits", str(spare)))
    monkeypatch.setenv("VOICETONE_DATA", str(world))
    monkeypatch.setenv("VOICETONE_CACHE", str(world / "cache"))
    with pytest.raises(DataError, match=r"leave it out of stages\.words"):
        train(path, [f"out={tmp_path / 'run'}", "final=false"])


def test_one_recording_on_two_sides_of_the_words_is_refused(recipe: VoiceRecipe) -> None:
    corpora = read_corpora(recipe)
    (digits,) = read_words(recipe)
    copy = [replace(u, id=f"copy/{u.id}", partition="train") for u in digits]
    other = replace(digits, utterances=tuple(copy), places=())
    table = fold_table(recipe, corpora)
    with pytest.raises(DataError, match="the same recording as digits/"):
        check_heard_once(table, corpora, (digits, other))
    known = check_heard_once(table, corpora, (digits,))
    for change in ({"sentence": "7"}, {"language": "pl"}, {"transcript": "x"}, {"speaker": "v"}):
        first = replace(digits.utterances[0], **change)
        changed = replace(digits, utterances=(first, *digits.utterances[1:]))
        assert check_heard_once(table, corpora, (changed,)) != known


def test_a_part_of_a_labelled_recording_is_found_among_the_words(recipe: VoiceRecipe) -> None:
    corpora = read_corpora(recipe)
    (voices,) = corpora
    parts = [replace(voices.utterances[0], id=f"p/{k}", start=s, end=s + 0.4, speaker=f"q{k}")
             for k, s in enumerate((0.0, 0.5))]  # fmt: skip
    (digits,) = read_words(recipe)
    table = fold_table(recipe, corpora)
    for part in parts:
        with pytest.raises(DataError, match="labelled corpora"):
            check_heard_once(table, corpora, (replace(digits, utterances=(part,), places=()),))


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("noise_folds=[1,3]", "no model may hear noise fold 3"),
        ("stages.pretrain.steps=0", "steps"),
        ("network.heads=7", "no network has these sizes"),
        ("stages.asr.heads=3", "heads"),
        ("stages.asr.kernel=1", "kernel"),
        ("noise_clips=0", "noise_clips"),
        ("steps=0", "steps"),
    ],
)
def test_sizes_that_can_not_be_are_named_before_training(
    world: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, word: str, said: str
) -> None:
    monkeypatch.setattr("voicetone.training.tone_ship.gather", None)
    with pytest.raises((DataError, UsageError), match=said):
        _train(world, monkeypatch, f"odd-{tmp_path.name}", word)


def test_words_can_be_withheld_too(recipe: VoiceRecipe) -> None:
    corpora = read_corpora(recipe)
    labelled = [u for m in corpora for u in m]
    (digits,) = read_words(recipe)
    named = [replace(u, sentence=str(k % 2)) for k, u in enumerate(digits)]
    choice = replace(recipe.stages.withheld[0], corpus="digits")
    other = replace(recipe, stages=replace(recipe.stages, withheld=(choice,)))
    folds = fold_table(recipe, corpora)
    speech = speech_of(other, folds, labelled, [replace(digits, utterances=tuple(named))])
    part = parts_of(other, speech, 0)
    assert {u.sentence for u, p in zip(speech.utterances, part, strict=True) if p == "train"} == {
        None,
        "1",
        *(u.sentence for u in labelled),
    } - {None}
    assert (part == "new sentence").sum() > 0
    assert not (parts_of(other, speech, None) == "new sentence").any()


def test_a_front_end_that_learns_with_the_recogniser_stays_with_its_encoder(
    recipe: VoiceRecipe, tmp_path: Path
) -> None:
    import torch

    assert recipe.stages.asr is not None
    asr = replace(recipe.stages.asr, train_front=True)
    own = replace(recipe, stages=replace(recipe.stages, asr=asr))
    material = gather(own, final=False)
    speech = speech_of(own, material.table, material.utterances, material.words)
    common = (own, speech, material.store, 0, tmp_path, 3, lambda *_: None, torch.device("cpu"))
    learnt = learn(*common)
    assert learnt.asr is not None
    net = tone_net(own, 3, learnt)
    for mine, its in zip(
        net.encoder.front.parameters(), learnt.asr.front.parameters(), strict=True
    ):
        assert mine.equal(its)
    (tmp_path / "words.parquet").unlink()  # as after a kill while clips were decoded
    again = learn(*common)
    assert (tmp_path / "words.parquet").exists()
    for mine, its in zip(again.front.parameters(), learnt.front.parameters(), strict=True):
        assert mine.equal(its)


def test_other_labels_do_not_go_on_with_a_run(
    run: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = world / "digits" / "manifest.csv"
    before = manifest.read_text()
    manifest.write_text(before.replace("nought", "zero", 1))
    try:
        with pytest.raises(DataError, match="have changed since"):
            _train(world, monkeypatch, "run", "int8=true")
    finally:
        manifest.write_text(before)
