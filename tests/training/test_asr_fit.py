"""Training of the recogniser on made-up words, what it hears, its files and its scores."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

pytest.importorskip("tokenizers")
pytest.importorskip("rapidfuzz")

from voicetone.errors import DataError
from voicetone.language.tokens import UNKNOWN, Tokens, train_tokens
from voicetone.models.asr_search import SearchSettings
from voicetone.models.asr_tone import AsrTone
from voicetone.models.front import Front, FrontConfig
from voicetone.training.asr_data import AsrExamples, asr_examples
from voicetone.training.asr_fit import (
    AsrBatches,
    Decoded,
    around_speech,
    decode_clips,
    fit_asr,
    load_asr,
    padded,
    save_asr,
    some,
)
from voicetone.training.asr_recipe import AsrSettings
from voicetone.training.asr_scores import asr_scores, sentiment_tokens
from voicetone.training.tone_data import Clip, ClipStore, pack

WORDS = {"ab": (0, 3), "ba": (3, 0), "bc": (3, 6), "ca": (6, 0)}
MOODS = ("positive", "neutral", "negative")
CPU = torch.device("cpu")
SETTINGS = AsrSettings(
    width=24,
    layers=1,
    heads=2,
    expand=2,
    kernel=5,
    past=16,
    dropout=0.0,
    decoder_width=24,
    decoder_layers=1,
    decoder_heads=2,
    smoothing=0.0,
    train_front=True,
    steps=100,
    batch=12,
    pool=2,
    rate=1e-2,
    average=0.9,
    transpose=0.0,
    masks=0,
    level_sd=0.1,
    hidden=0.3,
)


def sound(word: str, mood: str | None, rng: np.random.Generator) -> Clip:
    """Letters are bands, moods how loud the pitch map is; a pause before and after."""
    frames = 0.3 * rng.standard_normal((2 * int(rng.integers(9, 13)), 12))
    for place, band in zip((6, 12), WORDS[word], strict=True):
        frames[place : place + 5, band : band + 2] += 3.0
    if mood is not None:
        frames[:, 8 + MOODS.index(mood)] += 3.0
    speech = np.zeros(len(frames) // 2, dtype=bool)
    speech[3:9] = True
    return Clip(frames.astype(np.float16), speech)


@pytest.fixture(scope="module")
def material() -> tuple[ClipStore, AsrExamples, Tokens, list[str], list[str | None]]:
    rng = np.random.default_rng(0)
    words = [list(WORDS)[k % 4] for k in range(60)]
    moods: list[str | None] = [(*MOODS, None)[int(k)] for k in rng.integers(0, 4, 60)]
    store = pack([[sound(w, m, rng) for _ in range(2)] for w, m in zip(words, moods, strict=True)])
    examples, _ = asr_examples(words, ["xx"] * 60, moods, store.lengths[:, 0] // 2, SETTINGS)
    return store, examples, train_tokens(words), words, moods


def front() -> Front:
    torch.manual_seed(5)
    made = Front(FrontConfig(mels=8, lags=4, stem=(8, 16), width=32, dilations=(1,), dropout=0.0))
    for module in made.modules():  # as after pretraining: no two channels of one kind
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.bias, std=0.3)
    return made


TRAIN, HELD = np.arange(48), np.arange(48, 60)


@pytest.fixture(scope="module")
def trained(material: tuple) -> tuple[AsrTone, list[float], list[str]]:  # type: ignore[type-arg]
    store, examples, tokens, *_ = material
    losses: list[float] = []
    notes: list[str] = []
    net = fit_asr(
        front(),
        SETTINGS,
        tokens,
        store,
        examples,
        TRAIN,
        HELD,
        1,
        lambda step, loss: losses.append(loss),
        CPU,
        notes,
    )
    return net, losses, notes


def test_words_and_sentiment_are_learnt(material: tuple, trained: tuple) -> None:  # type: ignore[type-arg]
    store, _, tokens, words, moods = material
    net, losses, notes = trained
    assert len(losses) == SETTINGS.steps
    assert np.mean(losses[-10:]) < 0.25 * np.mean(losses[:10])
    assert [note.split(":")[0] for note in notes] == [
        f"loss of the validation clips after step {step}" for step in (67, 83, 100)
    ]
    clips = [store.clip(int(k), 0) for k in HELD]
    held_words, held_moods = [words[k] for k in HELD], [moods[k] for k in HELD]
    for settings in (SearchSettings(condition="unknown"), SearchSettings(beam=3, ctc_share=0.3)):
        found = decode_clips(net, tokens, clips, settings)
        scores = asr_scores(
            found, held_words, sentiment_tokens(held_moods), ["s"] * 12, ["held"] * 12
        )
        assert scores[0].wer is not None
        assert scores[0].sentiment_uar is not None
        assert scores[0].wer.value <= 0.1
        assert scores[0].sentiment_uar.value >= 0.9


def test_the_same_seed_gives_the_same(material: tuple) -> None:  # type: ignore[type-arg]
    store, examples, tokens, *_ = material
    settings = replace(SETTINGS, train_front=False, steps=6, dropout=0.1, masks=2, transpose=1.0)
    runs = []
    for seed in (1, 1, 2):
        losses: list[float] = []
        net = fit_asr(
            front(), settings, tokens, store, examples, TRAIN, HELD, seed,
            lambda step, loss, kept=losses: kept.append(loss), CPU,
        )  # fmt: skip
        runs.append((losses, net.state_dict()))
    assert runs[0][0] == runs[1][0]
    assert runs[0][0] != runs[2][0]
    for name, weight in runs[0][1].items():
        assert torch.equal(weight, runs[1][1][name])
    # A front end that is not to learn is as it was, its statistics included.
    for name, weight in front().state_dict().items():
        assert torch.allclose(runs[0][1][f"front.{name}"], weight, atol=1e-6)


def test_batches_are_single_clips_masked(material: tuple, trained: tuple) -> None:  # type: ignore[type-arg]
    store, _, tokens, *_ = material
    clips = [store.clip(int(k), 1) for k in HELD]
    clips.append(Clip(clips[0].features[:0], clips[0].speech[:0]))
    clips.append(Clip(clips[1].features[:8], clips[1].speech[:4]))
    settings = SearchSettings(beam=2, ctc_share=0.4)
    together = decode_clips(trained[0], tokens, clips, settings)
    for found, clip in zip(together, clips, strict=True):
        alone = decode_clips(trained[0], tokens, [clip], settings)[0]
        assert (found.text, found.ctc_text) == (alone.text, alone.ctc_text)
        np.testing.assert_allclose(found.score, alone.score, atol=1e-4)
        if alone.sentiment is not None:
            np.testing.assert_allclose(found.sentiment, alone.sentiment, atol=1e-5)
    assert together[-2] == Decoded("", 0.0, None, "")
    assert decode_clips(trained[0], tokens, []) == []


def test_a_loss_that_is_no_number_is_named(material: tuple) -> None:  # type: ignore[type-arg]
    store, examples, tokens, *_ = material
    broken = front()
    broken.mean[0] = math.nan
    with pytest.raises(DataError, match="the recogniser's loss is no number at step 1: lower"):
        fit_asr(broken, SETTINGS, tokens, store, examples, TRAIN, HELD, 1, lambda *_: None, CPU)


def test_batches_hold_clips_of_like_length_and_sentiments_evenly(material: tuple) -> None:  # type: ignore[type-arg]
    store, examples, tokens, *_ = material
    settings = replace(SETTINGS, pool=8, unknown_share=0.25, hidden=0.5, guessed=0.6, margin=-1.0)
    batches = AsrBatches(store, examples, tokens, TRAIN, settings, front())
    rng = np.random.default_rng(3)
    drawn = [batches.draw(rng) for _ in range(80)]
    spread = np.mean([float(lengths.max() - lengths.min()) for _, lengths, _ in drawn])
    assert spread < 0.4 * (store.lengths.max() - store.lengths.min())
    assert all(features.shape[1] == int(lengths.max()) for features, lengths, _ in drawn)
    labels = torch.cat([targets.sentiment for *_, targets in drawn])
    shares = [float((labels == token).double().mean()) for token in (4, 5, 6, UNKNOWN)]
    np.testing.assert_allclose(shares, 0.25, atol=0.06)
    given, known = torch.cat([targets.given for *_, targets in drawn]), labels != UNKNOWN
    assert bool(((given == labels) | (given == UNKNOWN))[known].all())
    np.testing.assert_allclose(float((given == UNKNOWN)[known].double().mean()), 0.5, atol=0.08)
    guessed = [float((given == token)[~known].double().mean()) for token in (4, 5, 6, UNKNOWN)]
    np.testing.assert_allclose(guessed, [0.2, 0.2, 0.2, 0.4], atol=0.1)


def test_checked_clips_are_spread_over_all() -> None:
    rows = np.arange(1000, 1900)
    chosen = some(rows)
    assert len(chosen) == len(np.unique(chosen)) == 200
    assert (chosen[0], chosen[-1]) == (1000, 1899)
    assert np.diff(chosen).max() <= 5
    assert some(rows[:7]).tolist() == rows[:7].tolist()


def test_no_crop_cuts_speech() -> None:
    speech = np.zeros(100, dtype=bool)
    speech[40:60] = True
    clip = Clip(np.arange(200, dtype=np.float16)[:, None], speech)
    rng = np.random.default_rng(0)
    starts = []
    for _ in range(50):
        found = around_speech(clip, 0.3, rng)[:, 0]
        first, last = int(found[0]), int(found[-1]) + 1
        assert first % 2 == last % 2 == 0
        assert 2 * 11 <= first <= 2 * (40 - 10)
        assert 2 * (60 + 10) <= last <= 2 * (60 + 29)
        starts.append(first)
    assert len(set(starts)) > 5
    assert len(around_speech(clip, 20.0, rng)) == 200
    assert len(around_speech(clip, -1.0, rng)) == 200
    assert len(around_speech(Clip(clip.features, np.zeros(100, dtype=bool)), 0.1, rng)) == 200


def test_padding_is_the_fill() -> None:
    features, lengths = padded([np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)],
                               np.full(3, 7, np.float32))  # fmt: skip
    assert lengths.tolist() == [2, 4]
    assert features[0, 2:].unique().tolist() == [7.0]
    assert features[1].unique().tolist() == [1.0]


def test_there_and_back(trained: tuple, material: tuple, tmp_path: Path) -> None:  # type: ignore[type-arg]
    path = tmp_path / "deep" / "asr.safetensors"
    save_asr(path, trained[0])
    again = load_asr(path)
    assert again.config == trained[0].config
    assert not again.training
    clips = [material[0].clip(50, 0)]
    assert decode_clips(again, material[2], clips) == decode_clips(trained[0], material[2], clips)
    assert [p.name for p in path.parent.iterdir()] == ["asr.safetensors"]


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        (None, {"format": 9}),
        ("asr", {"width": 48}),
        ("asr", {"width": 10**9}),
        ("asr", {"layers": 60_000}),
        ("asr", {"heads": 0}),
        ("asr", {"vocabulary": "x"}),
        ("front", {"dilations": [1] * 1000}),
        ("front", {"mels": -4}),
        ("front", {"kernel": 0}),
    ],
)
def test_damaged_files_are_refused(
    trained: tuple,  # type: ignore[type-arg]
    tmp_path: Path,
    part: str | None,
    changes: dict[str, object],
) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file

    good, path = tmp_path / "good", tmp_path / "bad"
    save_asr(good, trained[0])
    with safe_open(good, "pt") as file:
        facts = json.loads(file.metadata()["asr"])
    facts = {**facts, **changes} if part is None else {**facts, part: {**facts[part], **changes}}
    save_file(load_file(good), path, {"asr": json.dumps(facts)})
    with pytest.raises(DataError, match="no weights of a recogniser"):
        load_asr(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no weights of a recogniser"):
        load_asr(tmp_path / "none")
    (tmp_path / "text").write_text("{}", "utf-8")
    with pytest.raises(DataError, match="no weights of a recogniser"):
        load_asr(tmp_path / "text")


def test_scores_are_pooled_by_group() -> None:
    sure = (0.8, 0.1, 0.1)
    decoded = [
        Decoded("one two three four", 0.0, sure, "one two three"),
        Decoded("two", 0.0, sure, ""),
        Decoded("anything", 0.0, (0.1, 0.1, 0.8), ""),
        Decoded("", 0.0, None, ""),
    ]
    scores = asr_scores(
        decoded,
        ["One, two three four!", "one", "", "six"],
        sentiment_tokens(["positive", None, "negative", "positive"]),
        ["s", "s", "t", "t"],
        ["a", "b", "b", "b"],
    )
    everything, first, second = scores
    assert [s.group for s in scores] == ["all", "a", "b"]
    assert everything.words == 6
    assert everything.wer is not None
    assert everything.wer.value == 2 / 6  # not the mean of 0, 1 and 1
    assert (everything.substitutions, everything.deletions) == (1 / 6, 1 / 6)
    assert everything.ctc_wer is not None
    assert everything.ctc_wer.value == 3 / 6
    assert everything.sentiment_uar is not None
    assert everything.sentiment_uar.value == 0.75  # half of positive, all of negative
    assert first.wer is not None
    assert (first.wer.value, first.labelled) == (0.0, 1)
    assert second.clips == 3
    assert json.loads(json.dumps(everything.to_dict()))["words"] == 6
    with pytest.raises(DataError, match="decoded clips, transcripts"):
        asr_scores([], [], sentiment_tokens([]), [], [])
