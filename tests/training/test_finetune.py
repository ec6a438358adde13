"""Fine-tuning: what learns when, what stays, what is said of it, and what a user's folder needs."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from voicetone.errors import DataError
from voicetone.features.spectral import SpectralConfig
from voicetone.inference.file import analyze
from voicetone.models.conformer import ConformerConfig
from voicetone.models.tone import ToneConfig, ToneNet
from voicetone.pretrained import load
from voicetone.training.bundle_weights import Parent, read_parent
from voicetone.training.finetune import (
    UNKNOWN,
    Thaw,
    fit_from,
    in_labels,
    layers_of,
    parent_of,
    sound_folders,
)
from voicetone.training.finetune_judged import calibrated, cautions
from voicetone.training.protocol import Fold, FoldTable
from voicetone.training.run import train
from voicetone.training.tone_batches import Labels, labels_of
from voicetone.training.tone_data import Clip, ClipStore, pack
from voicetone.training.tone_export import write_bundle
from voicetone.training.tone_fit import logits_of
from voicetone.training.tone_recipe import CorpusPart, FineTune, FrozenUntil, Network, ToneRecipe
from voicetone.training.tone_run import run_folder
from voicetone.training.tone_scores import Pool
from voicetone.training.tone_tables import FoldPredictions
from voicetone.types import Utterance

RATE = 16_000
SMALL = ToneConfig(width=8, stem=(2, 4), hidden=8, heads=2, dilations=(1, 2), emotions=3)
KNOWN = ("anger", "happiness", "calm")
RECIPE = """
kind = "tone"
name = "mine"
version = "0.0.1"
init_from = "{parent}"
licence = "as the parent's"
steps = 4
batch = 6
frames = 48
noise_clips = 2
jobs = 1
[[corpora]]
name = "{corpus}"
licence = "my own"
folds = 2
[augmentation]
variants = 2
[finetune]
scratch = true
[finetune.frozen_until]
blocks = 1
stem = 2
"""


@pytest.fixture(scope="module")
def parent_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a small untrained network that knows calm and not neutral."""
    torch.manual_seed(0)
    net = ToneNet(SMALL)
    net.encoder.front.mean.fill_(-8.0)
    facts = {
        "name": "parent",
        "version": "2.0",
        "created": "2026-01-01",
        "temperature": {"sentiment": 2.0, "emotion": 0.5},
        "speech": {"threshold": 0.45, "release": 0.3, "onset_frames": 2, "hangover_frames": 3},
        "dont_know": {"sentiment": 0.4, "curve": []},
        "training": [
            {"corpus": "old (1.0); X", "licence": "NC", "utterances": 9, "hours": 0.1, "note": ""}
        ],
        "licence": "for research only",
        "attribution": ["old: X", "somebody's noises"],
        "notice": "learnt from old",
        "card": "# parent 2.0\n\nAbout the parent.",
        "metrics": {},
    }
    folder = tmp_path_factory.mktemp("parent") / "bundle"
    return write_bundle(folder, net, SpectralConfig(), KNOWN, facts)


@pytest.fixture
def parent(parent_folder: Path) -> Parent:
    return read_parent(str(parent_folder))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, parent_folder: Path) -> Path:
    """A folder of somebody's own recordings of six speakers, and a recipe."""
    root = tmp_path_factory.mktemp("mine")
    rng, rows = np.random.default_rng(0), []
    (root / "voices").mkdir()
    for speaker in "abcdef":
        for label, hertz in (("anger", 300.0), ("happiness", 220.0), ("neutral", 150.0)):
            time = np.arange(int(0.8 * RATE)) / RATE
            sound = 0.2 * np.sin(2 * np.pi * hertz * rng.uniform(0.95, 1.05) * time)
            sound = sound * (time > 0.2) + rng.normal(0, 1e-3, len(time))
            soundfile.write(root / "voices" / f"{speaker}-{label}.wav", sound, RATE)
            rows.append({"file": f"{speaker}-{label}.wav", "speaker": speaker, "label": label})
    with (root / "voices" / "manifest.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    text = RECIPE.format(parent=parent_folder, corpus=root / "voices")
    (root / "mine.toml").write_text(text, encoding="utf-8")
    return root


def _train(world: Path, patch: pytest.MonkeyPatch, out: str, *more: str) -> Path:
    patch.delenv("VOICETONE_DATA", raising=False)
    patch.setenv("VOICETONE_CACHE", str(world / "cache"))
    return train(world / "mine.toml", [f"out={world / out}", *more])


@pytest.fixture(scope="module")
def run(world: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        return _train(world, patch, "run")


def test_a_run_says_whether_fine_tuning_helped(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    after = metrics["scores"]["voices/sentiment"]["uar"]["value"]
    for other in ("parent", "scratch"):
        before = metrics[other]["scores"]["voices/sentiment"]["uar"]["value"]
        apart = metrics[f"change_from_{other}"]["voices/sentiment"]
        assert apart["value"] == pytest.approx(after - before)
        assert apart["low"] <= apart["value"] <= apart["high"]
        assert apart["utterances"] == 18
    assert metrics["parent"]["name"] == "parent 2.0"
    assert metrics["speech_rule"]["threshold"] == 0.45
    assert metrics["cautions"] == [
        "parent 2.0 has no output for neutral: its emotion scores hold clips that it can't get "
        "right."
    ]


def test_a_users_folder_needs_no_measured_sounds(run: Path) -> None:
    log = (run / "log.txt").read_text()
    assert "starts from parent 2.0" in log
    assert "no recorded noises and no measured rooms in VOICETONE_DATA" in log
    assert "than parent 2.0" in log
    assert "has no output for neutral" in (run / "report.html").read_text()
    recipe = json.loads((run / "recipe.json").read_text())
    assert recipe["measured_sounds"] == {"noises": False, "rooms": False}


def test_the_bundle_names_its_parent_and_its_licence(run: Path, world: Path) -> None:
    predictor = load(run / "bundle")
    spec = predictor.spec
    assert spec.label_spaces.emotion == ["anger", "happiness", "neutral"]
    assert spec.licence == "as the parent's"
    assert "fine-tuned from parent 2.0, whose weights are under: for research only" in (
        spec.attribution
    )
    assert {"old: X", "somebody's noises"} <= set(spec.attribution)
    assert not any("ESC-10" in line for line in spec.attribution)
    assert [part.corpus.split(" ")[0] for part in spec.training] == ["voices", "old"]
    assert "parent 2.0; weights: for research only" in spec.card
    assert "> About the parent." in spec.card
    assert spec.notice == "mine was fine-tuned from parent 2.0. learnt from old"
    assert spec.speech.threshold == 0.45
    assert analyze(world / "voices" / "a-anger.wav", predictor).model == "mine 0.0.1"


def test_the_same_recipe_gives_the_same_predictions_and_a_run_can_be_a_parent(
    run: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("final=false", "finetune.scratch=false")
    again = _train(world, monkeypatch, "again", *words)
    one, other = (np.load(r / "folds/01/speech.npz")["frames"] for r in (run, again))
    np.testing.assert_array_equal(one, other)
    assert not (again / "scratch").exists()
    copy = world / "copy"
    shutil.copytree(run, copy)
    third = _train(world, monkeypatch, "third", *words, f"init_from={copy}")
    parent = json.loads((third / "metrics.json").read_text())["parent"]["name"]
    assert parent == "mine 0.0.1"
    # The same name for something else: the run isn't gone on with.
    (copy / "recipe.json").unlink()
    shutil.copytree(copy / "bundle", copy, dirs_exist_ok=True)
    with pytest.raises(DataError, match="other settings: parent was"):
        _train(world, monkeypatch, "third", *words, f"init_from={copy}")


def test_weights_need_a_licence(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="licence"):
        _train(world, monkeypatch, "unlicensed", 'licence=""')


# ------------------------------------------------------------------ what learns


def _material(clips: int = 12, noises: int = 3) -> tuple[ClipStore, Labels]:
    """Clips whose level tells the emotion, then noise."""
    rng = np.random.default_rng(0)
    spectral = SpectralConfig()

    def clip(level: float) -> list[Clip]:
        features = rng.normal(level, 0.5, (64, spectral.size)).astype(np.float16)
        return [Clip(features, np.ones(32, dtype=bool))]

    names = [("anger", "negative"), ("neutral", "neutral")]
    utterances = [
        Utterance(f"v/{i}", Path("x"), "v", speaker=f"{i % 4}", emotion=e, sentiment=s)
        for i, (e, s) in enumerate(names[i % 2] for i in range(clips))
    ]
    rows = [clip(-4.0 if u.emotion == "anger" else -12.0) for u in utterances]
    store = pack([*rows, *(clip(-14.0) for _ in range(noises))])
    return store, labels_of(utterances, ("anger", "neutral"))


def _recipe(**more: object) -> ToneRecipe:
    settings: dict[str, object] = {
        "kind": "tone",
        "name": "x",
        "version": "1",
        "corpora": (CorpusPart(name="v", folds=2),),
        "init_from": "parent",
        "steps": 5,
        "batch": 6,
        "frames": 64,
        **more,
    }
    return ToneRecipe(**settings)  # type: ignore[arg-type]


def _fit(parent: Parent, recipe: ToneRecipe, seed: int = 1) -> ToneNet:
    store, labels = _material()
    everyone = np.arange(len(labels.emotion))
    return fit_from(
        parent, recipe, store, labels, everyone, seed, lambda *_: None, torch.device("cpu")
    )


def _changed(net: ToneNet, parent: Parent) -> set[str]:
    old = parent.net.state_dict()
    return {
        name
        for name, value in net.state_dict().items()
        if not name.startswith("head.emotion") and not torch.equal(value, old[name])
    }


@pytest.mark.parametrize(
    ("blocks", "stem", "learns", "stays"),
    [
        (5, 5, (), ("encoder.",)),
        (0, 5, ("encoder.front.blocks.0.expand.weight",), ("encoder.front.stem.",)),
        (0, 4, ("encoder.front.stem.conv1.weight", "encoder.speech.weight"), ()),
    ],
)
def test_parts_learn_when_their_time_comes(
    parent: Parent, blocks: int, stem: int, learns: tuple[str, ...], stays: tuple[str, ...]
) -> None:
    until = FrozenUntil(blocks=blocks, stem=stem)
    changed = _changed(_fit(parent, _recipe(finetune=FineTune(frozen_until=until))), parent)
    assert {"head.mix.weight", "head.norm.running_mean", *learns} <= changed
    never = (*stays, "encoder.presence.", "encoder.front.mean", "encoder.front.scale")
    assert not [name for name in changed if name.startswith(never)]
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert not [n for n in changed if n.startswith("encoder.") and n.endswith(statistics)]


def test_what_is_frozen_is_as_at_inference() -> None:
    config = replace(SMALL, conformer=ConformerConfig(inputs=8, width=8, layers=2, heads=2))
    net = ToneNet(config)
    thaw = Thaw(net, FineTune(frozen_until=FrozenUntil(conformer=1, blocks=2, stem=9)))
    assert not thaw(1)
    learning = [name for name, p in net.named_parameters() if p.requires_grad]
    assert all(name.startswith("head.") for name in learning)
    assert not any(m.training for m in net.encoder.modules())
    assert thaw(2)
    assert thaw(3)
    learning = [name for name, p in net.named_parameters() if p.requires_grad]
    assert {name.split(".")[1] for name in learning if name.startswith("encoder.")} == {
        "front",
        "conformer",
        "speech",
    }
    assert not any("stem" in name for name in learning)
    assert net.encoder.front.blocks[0].dropout.training
    assert not net.encoder.front.stem.dropout.training
    norms = (nn.BatchNorm1d, nn.BatchNorm2d)
    assert not any(m.training for m in net.encoder.modules() if isinstance(m, norms))
    assert net.head.norm.training


def test_lower_layers_learn_at_lower_rates() -> None:
    config = replace(SMALL, conformer=ConformerConfig(inputs=8, width=8, layers=2, heads=2))
    net = ToneNet(config)
    layers = layers_of(net, FineTune(rate=0.08, layer_decay=0.5))
    assert [layer.part for layer in layers] == [
        *("conformer", "conformer", "blocks", "blocks", "stem"),
    ]
    assert [layer.rate for layer in layers] == pytest.approx([0.08, 0.04, 0.02, 0.01, 0.005])
    listed = [id(p) for layer in layers for p in layer.parameters]
    wanted = [id(p) for n, p in net.encoder.named_parameters() if not n.startswith("presence.")]
    assert sorted(listed) == sorted(wanted)


def test_fine_tuning_learns_and_a_seed_decides(parent: Parent) -> None:
    recipe = _recipe(steps=40, finetune=FineTune(head_rate=0.02), network=Network(dropout=0.0))
    net, again, other = (_fit(parent, recipe, seed) for seed in (1, 1, 2))
    store, labels = _material()
    said = logits_of(net, [store.clip(i, 0) for i in range(12)])[1]
    assert (said.argmax(1) == labels.emotion).mean() >= 0.9
    for name, value in net.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(net.head.mix.weight, other.head.mix.weight)


def test_speech_presence_is_kept(parent: Parent) -> None:
    store, _ = _material()
    clips = [store.clip(i, 0) for i in range(15)]
    known = np.stack(logits_of(parent.net, clips)[2])
    apart = []
    for weight in (0.0, 20.0):
        settings = FineTune(rate=0.02, keep_speech=weight, frozen_until=FrozenUntil(0, 0, 0))
        net = _fit(parent, _recipe(steps=30, finetune=settings))
        apart.append(float(np.abs(np.stack(logits_of(net, clips)[2]) - known).mean()))
    assert apart[1] < 0.5 * apart[0]


# ------------------------------------------------------------------ settings


def test_runs_from_scratch_keep_their_settings(tmp_path: Path) -> None:
    recipe = _recipe(init_from="", out=str(tmp_path))
    table = FoldTable("p", (Fold("f", (), (), ("a",)),))
    newer = {"init_from", "finetune", "parent", "balance"}
    told = run_folder(recipe, table).told
    assert not newer & set(told)
    assert not {"room", "codec"} & set(told["augmentation"])
    assert not {"side", "official"} & {key for part in told["corpora"] for key in part}


def test_settings_that_do_not_go_together(parent_folder: Path) -> None:
    with pytest.raises(DataError, match="without a model to start from"):
        parent_of(_recipe(init_from="", finetune=FineTune(rate=1e-4)))
    with pytest.raises(DataError, match="leave all but dropout out"):
        parent_of(_recipe(init_from=str(parent_folder), network=Network(width=80)))
    with pytest.raises(DataError, match="makes its own encoder"):
        parent_of(_recipe(init_from=str(parent_folder), kind="voice-tone"))
    assert parent_of(_recipe(init_from="")) is None
    found = parent_of(_recipe(init_from=str(parent_folder), network=Network(dropout=0.3)))
    assert found is not None
    assert found.emotions == KNOWN


def test_a_parent_that_hears_something_else_is_refused(tmp_path: Path, parent: Parent) -> None:
    spec = parent.spec.model_dump()
    spec = {k: v for k, v in spec.items() if k in ("name", "version", "created", "temperature")}
    more = parent.spec.model_dump(exclude={"files", "features", "graphs"})
    facts = {k: more[k] for k in ("speech", "dont_know", "training", "licence", "attribution",
                                  "notice", "card", "metrics")}  # fmt: skip
    spectral = replace(SpectralConfig(), mel_low=80.0)
    write_bundle(tmp_path, parent.net, spectral, KNOWN, {**spec, **facts})
    with pytest.raises(DataError, match="hears other features"):
        parent_of(_recipe(init_from=str(tmp_path)))


def test_measured_sounds_are_taken_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VOICETONE_DATA", raising=False)
    assert not sound_folders(_recipe()).noises
    with pytest.raises(DataError, match="VOICETONE_DATA"):
        sound_folders(_recipe(init_from=""))
    (tmp_path / "rir").mkdir()
    (tmp_path / "rir" / "manifest.csv").write_text("file\n")
    monkeypatch.setenv("VOICETONE_DATA", str(tmp_path))
    found = sound_folders(_recipe())
    assert (found.noises, found.rooms) == (False, True)
    monkeypatch.setenv("VOICETONE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="VOICETONE_DATA"):
        sound_folders(_recipe())


# ------------------------------------------------------------------ judgement


def test_a_parents_emotions_are_put_in_the_childs_places(parent: Parent) -> None:
    logits = np.array([[1.0, 2.0, 3.0]], dtype=np.float32)
    said = FoldPredictions(["a"], ["test"], logits, logits, [], [])
    found = in_labels(said, parent, ("happiness", "neutral", "anger"))
    np.testing.assert_allclose(found.emotion, [[4.0, UNKNOWN, 2.0]])
    np.testing.assert_allclose(found.sentiment, [[0.5, 1.0, 1.5]])


def test_a_folds_temperature_is_not_found_on_its_own_clips() -> None:
    rng = np.random.default_rng(0)
    utterances = [
        Utterance(f"v/{i}", Path("x"), "v", emotion=e, sentiment=s)
        for i, (e, s) in enumerate([("anger", "negative"), ("neutral", "neutral")] * 30)
    ]
    labels = labels_of(utterances, ("anger", "neutral"))
    right = np.eye(3, dtype=np.float32)[labels.sentiment] * 4
    logits = right + rng.normal(0, 2, right.shape).astype(np.float32)
    fold = np.repeat([0, 1, 2], 20)
    pool = Pool(np.arange(60), np.ones(60, dtype=bool), fold, logits, logits[:, :2])
    one, temperature = calibrated(pool, labels)
    spoilt = np.where((fold == 0)[:, None], -logits, logits)
    other, _ = calibrated(replace(pool, sentiment=spoilt), labels)
    np.testing.assert_allclose(other.sentiment[:20], -one.sentiment[:20], rtol=1e-6)
    assert not np.allclose(other.sentiment[20:], one.sentiment[20:])
    assert temperature["sentiment"] != 1.0
    alone, _ = calibrated(replace(pool, fold=np.zeros(60, dtype=np.int64)), labels)
    np.testing.assert_array_equal(alone.sentiment, logits)


def test_a_corpus_that_the_parent_learnt_from_is_named(parent: Parent, world: Path) -> None:
    from voicetone.corpora.prepared import read_prepared

    manifest = read_prepared(str(world / "voices"), licence="mine")
    labels = _material()[1]
    assert len(cautions(parent, [manifest], labels)) == 1
    said = cautions(parent, [replace(manifest, corpus="old")], labels)
    assert said[0].startswith("parent 2.0 learnt from old: its scores on it")
