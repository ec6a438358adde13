"""The tone model from recordings to a bundle, on made-up voices small enough for a test."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from training.toy_voices import made_world, recipe_text
from voicetone.errors import DataError
from voicetone.features.spectral import SpectralConfig
from voicetone.inference.file import analyze
from voicetone.models.conformer import ConformerConfig
from voicetone.models.tone import ToneConfig, ToneNet, ToneTargets, tone_loss
from voicetone.pretrained import load
from voicetone.server.metrics import reference
from voicetone.training.protocol import Fold, FoldTable
from voicetone.training.recipe import dataclass_from, read_recipe
from voicetone.training.run import train
from voicetone.training.tone_batches import Batches, balanced, inverse_frequency, labels_of
from voicetone.training.tone_corpora import fold_table, read_corpora
from voicetone.training.tone_data import AugmentConfig, Clip, build, pack, speech_labels
from voicetone.training.tone_export import graphs
from voicetone.training.tone_recipe import ToneRecipe
from voicetone.training.tone_run import Material, fold_folder
from voicetone.training.tone_scores import best_temperature
from voicetone.training.tone_ship import emotion_table, tables
from voicetone.training.tone_tables import FoldPredictions, read_fold
from voicetone.types import SENTIMENTS, Utterance


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a corpus of four speakers, noises, rooms, and a recipe."""
    root = made_world(tmp_path_factory.mktemp("world"))
    (root / "tiny.toml").write_text(recipe_text("tone", "tiny", root / "voices"))
    return root


def _train(world: Path, monkeypatch: pytest.MonkeyPatch, out: str, *more: str) -> Path:
    monkeypatch.setenv("VOICETONE_DATA", str(world))
    monkeypatch.setenv("VOICETONE_CACHE", str(world / "cache"))
    return train(world / "tiny.toml", [f"out={world / out}", *more])


@pytest.fixture(scope="module")
def run(world: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        return _train(world, patch, "run")


def test_a_run_holds_what_it_should(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["scores"]["voices/emotion"]["clips"] == 24
    assert 0 <= metrics["scores"]["voices/emotion"]["uar"]["value"] <= 1
    assert metrics["scores"]["voices/emotion"]["uar"]["low"] is None
    assert metrics["speech"]["noise_clips_alarmed"]["total"] == 2
    assert json.loads((run / "folds.json").read_text())["hash"] == metrics["folds"]
    assert (run / "recipe.json").exists()
    environment = json.loads((run / "environment.json").read_text())
    assert {"python", "torch", "device", "voicetone"} <= environment.keys()


def test_a_run_has_a_log_and_a_report(run: Path) -> None:
    log = (run / "log.txt").read_text()
    assert "24 utterances, emotion, 3 classes (anger, happiness, neutral)" in log
    assert "voices/emotion: UAR 0." in log
    page = (run / "report.html").read_text()
    assert "voices: 2 groups of speakers" in page
    assert "The protocol is speaker-dependent" not in page
    metrics = json.loads((run / "metrics.json").read_text())["scores"]["voices/emotion"]
    judged = json.loads((run / "scores.json").read_text())
    assert judged["scores"]["uar"]["mean"] == pytest.approx(metrics["uar"]["value"])
    assert judged["table"]["utterances"] == metrics["clips"]
    assert judged["table"]["folds"] == 2
    assert all(Path(error["audio"]).is_file() for error in judged["errors"])


def test_a_part_of_a_recording_is_rendered_alone(world: Path, tmp_path: Path) -> None:
    whole = Utterance("v/a", world / "voices/a-anger-0.flac", "voices")  # 1.2 s
    stores = [
        build([u], 0, 1, 0, AugmentConfig(), SpectralConfig(), tmp_path, root=world, workers=1,
              progress=lambda *_: None)
        for u in (whole, replace(whole, start=0.5, end=1.0))
    ]  # fmt: skip
    assert [int(s.lengths[0, 0]) for s in stores] == [78, 32]  # in steps of 31.25 ms, of two each


def test_the_corpora_of_a_run_are_reported_together() -> None:
    rows = [("a", "anger"), ("a", "calm"), ("b", "anger"), ("b", "fear")]
    utterances = tuple(
        Utterance(f"{c}/{e}", Path(f"{e}.wav"), c, speaker=f"{c}/{e}", emotion=e) for c, e in rows
    )
    labels = labels_of(utterances, ("anger", "fear", "calm"))
    ids = [u.id for u in utterances]
    folds = FoldTable("p", (Fold("all", (), (), tuple(ids)),))
    scores = np.array([[0, 9, 1], [1, 9, 2], [3, 1, 9], [0, 2, 9]], dtype=np.float32)
    said = FoldPredictions(ids, ["test"] * 4, scores, scores, [], [])
    store = pack([[Clip(np.zeros((2, 1), np.float16), np.zeros(1, bool))]])
    table = emotion_table(tables(Material((), utterances, labels, folds, store, {}), [said], {}))
    assert dict(zip(table.id, table.predicted, strict=True)) == {
        "a/anger": "calm",
        "a/calm": "calm",
        "b/anger": "anger",
        "b/fear": "fear",
    }
    assert set(table.labels) == {"anger", "fear", "calm"}
    assert table.probabilities
    assert list(table.fold) == ["all"] * 4


def test_a_bundle_brings_the_mean_scores_of_its_held_out_clips(run: Path) -> None:
    """Over validation clips, with the bundle's own temperature; servers take drift from them."""
    spec = load(run / "bundle").spec
    logits = np.concatenate(
        [
            fold.sentiment[[part == "validation" for part in fold.parts]]
            for fold in map(read_fold, sorted((run / "folds").iterdir()))
        ]
    )
    shares = np.exp(logits / spec.temperature.sentiment)
    means = (shares / shares.sum(axis=1, keepdims=True)).mean(axis=0)
    told = reference(spec.metrics)
    assert list(told) == list(SENTIMENTS)
    assert list(told.values()) == pytest.approx(list(means), abs=1e-4)


def test_the_bundle_says_what_the_trainer_says(run: Path, world: Path) -> None:
    predictor = load(run / "bundle")
    assert predictor.spec.licence == "CC0"
    assert predictor.spec.label_spaces.emotion == ["anger", "happiness", "neutral"]
    net = ToneNet(
        ToneConfig(
            width=8, stem=(2, 4), hidden=8, heads=2, dilations=(1, 2), dropout=0.1, emotions=3
        )
    )
    net.load_state_dict(load_file(run / "checkpoints" / "final.safetensors"))
    net.eval()
    samples, _ = soundfile.read(world / "voices/a-anger-0.flac", dtype="float32")
    context = predictor.spec.spectral.context
    samples = np.pad(samples[: len(samples) // 500 * 500], (context, 0))[None]
    features = predictor.features(samples)
    state = np.zeros((1, predictor.spec.state_size), dtype=np.float32)
    frames, speech, _ = predictor.encode(features, state)
    weight = np.ones(frames.shape[:2], dtype=np.float32)
    said = predictor.classify(frames, weight)
    with torch.no_grad():
        sentiment, emotion, _ = net(torch.from_numpy(features), torch.from_numpy(weight))
        presence = net.encoder(torch.from_numpy(features), torch.from_numpy(state))[1]
    temperature = predictor.spec.temperature
    for name, logits in (("sentiment", sentiment), ("emotion", emotion)):
        wanted = torch.softmax(logits / getattr(temperature, name), dim=1).numpy()
        np.testing.assert_allclose(said[name], wanted, atol=1e-4)
    np.testing.assert_allclose(speech, presence.numpy(), atol=1e-4)
    assert analyze(world / "voices/a-anger-0.flac", predictor).model == "tiny 0.0.1"


def test_the_same_recipe_gives_the_same_predictions(
    run: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = _train(world, monkeypatch, "again", "final=false")
    one, other = (read_fold(fold_folder(r, 1)) for r in (run, again))
    np.testing.assert_array_equal(one.emotion, other.emotion)
    assert not (again / "bundle").exists()


def test_other_processes_give_the_same_predictions(
    run: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = _train(world, monkeypatch, "beside", "final=false", "jobs=2")
    np.testing.assert_allclose(
        read_fold(fold_folder(run, 0)).emotion,
        read_fold(fold_folder(again, 0)).emotion,
        atol=1e-6,
    )


def test_a_run_goes_on_where_it_stopped(
    run: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = _train(world, monkeypatch, "stopped", "final=false")
    kept = fold_folder(out, 0) / "predictions.parquet"
    before = kept.stat().st_mtime_ns
    (fold_folder(out, 1) / "done").unlink()
    metrics = (out / "metrics.json").read_text()
    _train(world, monkeypatch, "stopped", "final=false")
    assert kept.stat().st_mtime_ns == before
    assert (out / "metrics.json").read_text() == metrics


def test_another_recipe_does_not_overwrite(
    run: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="other settings"):
        _train(world, monkeypatch, "run", "steps=5")


def test_weights_need_a_licence(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="licence"):
        _train(world, monkeypatch, "unlicensed", 'licence=""')


CONFORMER = ConformerConfig(inputs=8, width=12, layers=2, heads=2, kernel=3, past=5)


@pytest.mark.parametrize("conformer", [None, CONFORMER], ids=["front", "conformer"])
def test_any_cut_of_a_stream_gives_the_same_frames(conformer: ConformerConfig | None) -> None:
    torch.manual_seed(0)
    sizes = {"mels": 16, "lags": 4, "width": 8, "stem": (2, 4), "dilations": (1, 2, 4)}
    config = ToneConfig(**sizes, heads=2, conformer=conformer)
    net = ToneNet(config).eval()
    features = torch.randn(2, 80, config.features)
    with torch.no_grad():
        whole, _, end = net.encoder(features, torch.zeros(2, config.state_size))
        state, pieces = torch.zeros(2, config.state_size), []
        for start, stop in ((0, 2), (2, 30), (30, 80)):
            frames, _, state = net.encoder(features[:, start:stop], state)
            pieces.append(frames)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(state, end, atol=1e-5, rtol=0)
    _check_graphs(net, features, whole)


def _check_graphs(net: ToneNet, features: torch.Tensor, whole: torch.Tensor) -> None:
    """The exported graphs give the same in other batches and chunks than they were traced with."""
    made = {k: onnxruntime.InferenceSession(v) for k, v in graphs(net).items()}
    for row in (slice(0, 1), slice(0, 2)):
        part = features[row].numpy()
        state, pieces = np.zeros((len(part), net.config.state_size), np.float32), []
        for start, stop in ((0, 2), (2, 14), (14, 80)):
            inputs = {"features": part[:, start:stop], "state": state}
            frames, _, state = made["encoder.onnx"].run(None, inputs)
            pieces.append(frames)
        together = np.concatenate(pieces, axis=1)
        np.testing.assert_allclose(together, whole[row], atol=1e-4)
        weight = np.ones(together.shape[:2], np.float32)
        found = made["head.onnx"].run(None, {"frames": together, "weight": weight})
        with torch.no_grad():
            wanted = net.head(whole[row], torch.from_numpy(weight))
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)


def test_padding_never_changes_a_score() -> None:
    torch.manual_seed(0)
    config = ToneConfig(mels=16, lags=4, width=8, stem=(2, 4), heads=2, dilations=(1, 2))
    net = ToneNet(config).eval()
    features = torch.randn(1, 40, config.features)
    padded = torch.cat([features, torch.randn(1, 60, config.features)], dim=1)
    weight = torch.zeros(1, 50)
    weight[:, :20] = 1.0
    with torch.no_grad():
        alone, with_padding = net(features, torch.ones(1, 20)), net(padded, weight)
    torch.testing.assert_close(alone[1], with_padding[1], atol=1e-5, rtol=0)


def test_only_clips_of_one_kind_follow_each_other(world: Path) -> None:
    said = [("x", "positive"), ("x", "negative"), ("x", "negative"), ("y", "negative")]
    utterances = [
        Utterance(str(k), Path("a"), "voices", speaker=speaker, sentiment=sentiment)
        for k, (speaker, sentiment) in enumerate(said)
    ]
    labels = labels_of(utterances, ())
    clip = Clip(np.zeros((8, 104), np.float16), np.ones(4, bool))
    path = world / "tiny.toml"
    recipe = dataclass_from(ToneRecipe, read_recipe(path), path)
    batches = Batches(
        pack([[clip]] * 4),
        labels,
        np.arange(4),
        recipe,
        SpectralConfig(),
        np.zeros(104, np.float32),
    )
    assert sorted(batches.alike.values()) == [[0], [1, 2], [3]]


def test_class_weights_are_inverse_to_frequency_in_a_corpus() -> None:
    labels = np.array([0, 0, 0, 1, -1, 2, 1])
    corpus = np.array(["a"] * 5 + ["b"] * 2)
    weights = inverse_frequency(labels, corpus)
    assert weights[:3].sum() == pytest.approx(weights[3])
    assert weights[4] == 0.0
    assert weights[:4].mean() == pytest.approx(1.0)
    assert weights[5] == weights[6] == pytest.approx(1.0)


@pytest.mark.parametrize(("balance", "counts"), [("over", [3, 3]), ("under", [1, 1])])
def test_classes_are_made_equal_within_a_corpus(
    world: Path, balance: str, counts: list[int]
) -> None:
    said = [("x", "anger")] * 3 + [("x", "neutral")] + [("y", "neutral")] * 2 + [("x", None)]
    utterances = [Utterance(f"{k}", Path("a"), c, emotion=e) for k, (c, e) in enumerate(said)]
    labels = labels_of(utterances, ("anger", "neutral"))
    path = world / "tiny.toml"
    recipe = dataclass_from(ToneRecipe, read_recipe(path, [f"balance={balance}"]), path)
    rows = balanced(labels, np.arange(7), recipe)
    assert np.bincount(labels.emotion[rows[rows < 4]]).tolist() == counts
    assert set(rows[rows >= 4]) == {4, 5}  # of one class alone, nothing to make equal
    assert balanced(labels, np.arange(7), replace(recipe, balance="none")).tolist() == [*range(7)]


def test_allowed_emotions_follow_the_corpus() -> None:
    utterances = [
        Utterance("a/1", Path("x"), "a", emotion="anger", sentiment="negative"),
        Utterance("b/1", Path("x"), "b", emotion="calm", sentiment="neutral"),
        Utterance("b/2", Path("x"), "b", emotion="surprise"),
    ]
    labels = labels_of(utterances, ("anger", "surprise", "calm"))
    np.testing.assert_array_equal(labels.allowed, [[1, 0, 0], [0, 1, 1], [0, 1, 1]])
    assert labels.sentiment.tolist() == [SENTIMENTS.index("negative"), 1, -1]


def test_speech_labels_find_the_loud_part() -> None:
    features = np.full((80, 20), -14.0, dtype=np.float32)
    features[20:60] = -6.0
    features[36:40] = -14.0  # a gap of two frames inside speech
    np.testing.assert_array_equal(np.flatnonzero(speech_labels(features, 16)), np.arange(10, 30))


def test_temperature_undoes_overconfidence() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 3))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = np.array([rng.choice(3, p=p) for p in shares])
    assert best_temperature((3.0 * logits).astype(np.float32), truth) == pytest.approx(3.0, rel=0.1)


def test_a_corpus_that_is_only_tested_on_trains_nowhere(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICETONE_DATA", str(world))
    other = tmp_path / "others"
    shutil.copytree(world / "voices", other)
    text = recipe_text("tone", "tiny", world / "voices").replace("folds = 2\n", "")
    more = f'[[corpora]]\nname = "{other}"\nlicence = "CC0"\nside = "test"\n'
    path = tmp_path / "across.toml"
    path.write_text(text.replace("[network]", more + "[network]"))
    recipe = dataclass_from(ToneRecipe, read_recipe(path, ["final=false"]), path)
    (fold,) = fold_table(recipe, read_corpora(recipe)).folds
    assert {key.split("/")[0] for key in fold.test} == {"others"}
    assert {key.split("/")[0] for key in (*fold.train, *fold.validation)} == {"voices"}
    assert len(fold.validation) == 6
    with pytest.raises(DataError, match="final=false"):
        fold_table(replace(recipe, final=True), read_corpora(recipe))
    path.write_text(text.replace("[network]", more + "folds = 2\n[network]"))
    recipe = dataclass_from(ToneRecipe, read_recipe(path), path)
    with pytest.raises(DataError, match="can't be folded"):
        fold_table(recipe, read_corpora(recipe))


def test_the_first_folds_are_those_of_all(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICETONE_DATA", str(world))
    path = world / "tiny.toml"
    every, first = (
        fold_table(recipe, read_corpora(recipe))
        for recipe in (
            dataclass_from(ToneRecipe, read_recipe(path, words), path)
            for words in ([], ["first_folds=1"])
        )
    )
    assert len(every.folds) == 2
    assert first.folds == every.folds[:1]
    assert first.protocol == f"{every.protocol}; first folds: 1"
    assert first.hash != every.hash


def test_a_clip_whose_corpus_has_no_emotions_leaves_the_loss_a_number() -> None:
    """As one with sentiments alone beside one with emotions."""
    torch.manual_seed(0)
    one = torch.ones(2)
    targets = ToneTargets(
        sentiment=torch.tensor([0, 2]),
        sentiment_weight=one,
        emotion=torch.tensor([1, 0]),
        emotion_weight=torch.tensor([1.0, 0.0]),
        emotion_allowed=torch.tensor([[1.0, 1.0], [0.0, 0.0]]),
        speech=torch.ones(2, 4),
        frame_weight=torch.ones(2, 4),
    )
    logits = torch.randn(2, 2, requires_grad=True)
    loss = tone_loss(torch.randn(2, 3), logits, torch.randn(2, 4), targets, smoothing=0.1)
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[1] == 0).all()
