"""The feature set `ssl`: folders of strangers, values, the cache, and a classifier on it."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("transformers")

import ssl_models
from training import toy_corpus
from voicetone.cli.main import run
from voicetone.errors import AudioError, DataError, MissingExtraError
from voicetone.features import ssl, ssl_source
from voicetone.features.cache import FeatureCache
from voicetone.features.extract import extract
from voicetone.features.sets import FeatureConfig, extractor
from voicetone.features.ssl import open_network, ssl_extractor
from voicetone.features.ssl_source import source
from voicetone.types import Utterance


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ssl")
    for family in ("wav2vec2", "whisper"):
        ssl_models.make(root / family, family)
    return root


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(made / "wav2vec2", tmp_path / "model"))


def config(folder: Path, **more: Any) -> FeatureConfig:
    return FeatureConfig("ssl", **{"model": str(folder), "layer": 2, **more})


def sound(seconds: float) -> np.ndarray:
    rng = np.random.default_rng(1)
    return (0.1 * rng.standard_normal(round(16_000 * seconds))).astype(np.float32)


@pytest.mark.parametrize("family", ["wav2vec2", "whisper"])
def test_frames_and_functionals(made: Path, family: str) -> None:
    frames = ssl_extractor(config(made / family, level="frames"))
    values = frames(sound(1.0))
    assert values.shape == (49 if family == "wav2vec2" else 50, len(frames.names))
    assert values.dtype == np.float32
    assert np.array_equal(values, frames(sound(1.0)))
    summed = ssl_extractor(config(made / family))
    assert summed.names[0] == "ssl_0_mean"
    assert summed.names[-1] == "ssl_15_sd"
    expected = [*values.mean(axis=0), *values.std(axis=0)]
    assert np.allclose(summed(sound(1.0)), expected, atol=1e-5)
    assert not np.allclose(
        summed(sound(1.0)), ssl_extractor(config(made / family, layer=1))(sound(1.0)), atol=1e-2
    )


def test_long_ones_are_heard_in_equal_pieces(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = ssl_extractor(config(made / "whisper", level="frames"))
    assert len(frames(sound(5.0))) == 3 * -(-80_000 // 3 // 320)  # pieces of at most 2 s
    frames = ssl_extractor(config(made / "wav2vec2", level="frames"))
    whole = frames(sound(2.0))
    monkeypatch.setattr(ssl_source, "PIECE_SECONDS", 1.0)
    pieces = frames(sound(2.0))
    assert (len(whole), len(pieces)) == (99, 98)
    assert not np.allclose(whole[:49], pieces[:49], atol=1e-4)  # no piece hears the other
    with pytest.raises(AudioError, match=r"0\.010 s is too short for wav2vec2"):
        frames(sound(0.01))


def test_the_cache_knows_weights_layer_and_library(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "a.wav", sound(0.5), 16_000)
    soundfile.write(tmp_path / "b.wav", sound(0.01), 16_000)
    utterances = [Utterance(n, tmp_path / f"{n}.wav", corpus="x") for n in "ab"]
    found = extract(utterances, config(folder), cache=tmp_path / "cache", jobs=2)
    assert (found.computed, set(found.failures)) == (2, {"b"})
    assert "too short" in found.failures["b"]
    moved = folder.rename(tmp_path / "moved")
    again = extract(utterances[:1], config(moved), cache=tmp_path / "cache")
    assert again.computed == 0
    before = ssl_extractor(config(moved)).settings
    assert before != ssl_extractor(config(moved, layer=1)).settings
    monkeypatch.setattr(ssl, "version", lambda _: "9")
    assert before != ssl_extractor(config(moved)).settings
    monkeypatch.undo()
    for name in ("preprocessor_config.json", "config.json"):
        with (moved / name).open("a") as file:
            file.write(" ")
        now = ssl_extractor(config(moved)).settings
        assert now["weights"] != before["weights"]
        before = now


def test_what_was_kept_before_is_found_again() -> None:
    """Folders of the cache from before there was this set: they depend on the settings alone."""
    kept = {
        FeatureConfig("logmel"): "logmel-2bdd09101453872b",
        FeatureConfig("mfcc", "functionals", 2.0): "mfcc-492854840b045eb7",
    }
    for given, name in kept.items():
        store = FeatureCache(Path("cache"), given.name, extractor(given).settings)
        assert store.folder.name == name
    pytest.importorskip("opensmile")
    settings = dict(extractor(FeatureConfig("ComParE_2016")).settings)
    del settings["opensmile"]
    expected = {"name": "ComParE_2016", "level": True, "cut_seconds": None, "version": 1}
    assert settings == expected


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"name": "ssl"}, "the feature set ssl needs both model, a folder, and layer"),
        ({"name": "ssl", "model": "x"}, "needs both model"),
        ({"name": "mfcc", "model": "x"}, "model and layer are for the feature set ssl"),
        ({"name": "mfcc", "layer": 0}, "model and layer are for the feature set ssl"),
    ],
)
def test_settings_that_cannot_be(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        FeatureConfig(**bad)


def change(folder: Path, name: str = "config.json", **values: Any) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "bert"}, "the architecture 'bert' is not supported: choose a model of"),
        ({"model_type": None}, "the architecture 'None'"),
        ({"hidden_size": 10**9}, "hidden_size = 1000000000 can't be a size"),
        ({"hidden_size": "16"}, "hidden_size = 16 can't be a size"),
        ({"num_hidden_layers": True}, "num_hidden_layers = True can't be a size"),
        ({"conv_stride": [5, 2, 0, 2, 2, 2, 2]}, "conv_stride = .* can't be a size"),
        ({"conv_dim": []}, "conv_dim = .* can't be a size"),
        ({"conv_dim": [8] * 6}, "of different lengths"),
        ({"hidden_size": 60_000}, r"more weights than its files hold \(0 MB\)"),
        ({"num_hidden_layers": 512}, "more weights than its files hold"),
        ({"conv_dim": [60_000] * 7}, "more weights than its files hold"),
        ({"adapter_attn_dim": 10**12}, "adapter_attn_dim = .* can't be a size"),
        ({"num_conv_pos_embedding_groups": 0}, "num_conv_pos_embedding_groups = 0 can't be"),
        ({"mask_time_length": 0}, "mask_time_prob, _length or _min_masks can't be a mask"),
        ({"mask_feature_prob": "much"}, "mask_feature_prob, _length or _min_masks can't be"),
    ],
)
def test_sizes_that_cannot_be(folder: Path, values: dict[str, Any], message: str) -> None:
    change(folder, **values)
    with pytest.raises(DataError, match=message):
        source(folder)


def test_folders_that_are_not_in_order(folder: Path, made: Path, tmp_path: Path) -> None:
    def refused(message: str, path: Path = folder) -> None:
        with pytest.raises(DataError, match=message) as told:
            source(path)
        assert "\n" not in str(told.value)

    refused("no such folder of a model", tmp_path / "none")
    refused("a model's folder needs this file", tmp_path)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-50])
    refused("damaged or incomplete weights")
    (folder / "model.safetensors").write_bytes(b"\xff" * 100)
    refused("damaged or incomplete weights")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused("its weights are no safetensors but may run code")
    (folder / "pytorch_model.bin").unlink()
    refused(r"no model\.safetensors in it")
    index = folder / "model.safetensors.index.json"
    for names in ({"a": "../secret.safetensors"}, {}, {"a": 1}, {"a": "x.bin"}):
        index.write_text(json.dumps({"weight_map": names}))
        refused("names no safetensors files beside it")
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))
    refused("damaged or incomplete weights")
    change(folder, "preprocessor_config.json", sampling_rate=8_000)
    (folder / "model.safetensors").write_bytes(weights)
    refused("sampling_rate = 8000, and only 16000 is supported")
    (folder / "preprocessor_config.json").unlink()
    refused("no preprocessor_config.json, which says whether")
    for text in ("{", "[" * 100_000, "\0"):
        (folder / "config.json").write_text(text)
        refused("no JSON, so it is damaged")
    (folder / "config.json").write_text("[]")
    refused("no JSON object")
    (folder / "config.json").write_text(" " * (8 * 2**20 + 1))
    refused("larger than 8 MiB")
    whisper = Path(shutil.copytree(made / "whisper", tmp_path / "whisper"))
    change(whisper, "preprocessor_config.json", feature_size=128)
    refused("feature_size = 128, and only 80 is supported", whisper)


def test_weights_of_another_model(folder: Path) -> None:
    change(folder, num_hidden_layers=2)
    open_network(source(folder))  # fewer layers than there are weights for
    change(folder, num_hidden_layers=3, do_stable_layer_norm=True, feat_extract_norm="layer")
    with pytest.raises(DataError, match=r"weights for .* and \d+ others are not in its files"):
        open_network(source(folder))
    change(folder, feat_extract_norm="group", hidden_size=8)
    with pytest.raises(DataError, match="the network can't be made"):
        open_network(source(folder))
    change(folder, hidden_size=16, num_attention_heads=3)
    with pytest.raises(DataError, match="the network can't be made"):
        open_network(source(folder))


def test_no_setting_of_a_stranger_chooses_code(folder: Path) -> None:
    plain = open_network(source(folder)).state_dict()
    (folder / "evil.py").write_text("raise SystemExit('it ran')")
    change(
        folder,
        auto_map={"AutoModel": "evil.Model", "AutoConfig": "evil.Config"},
        quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True},
        _attn_implementation="someone/kernels",
        attn_implementation="someone/kernels",
        dtype="float16",
        add_adapter=True,
    )
    network = open_network(source(folder))
    assert network.config._attn_implementation == "sdpa"
    found = network.state_dict()
    assert found.keys() == plain.keys()
    assert all(bool((found[k] == plain[k]).all()) for k in plain)


def test_weights_in_several_files(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    before = ssl_extractor(config(folder))(sound(0.5))
    whole = load_file(folder / "model.safetensors")
    names = sorted(whole)
    halves = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for name, keys in halves.items():
        save_file({k: whole[k] for k in keys}, folder / name, {"format": "pt"})
    (folder / "model.safetensors").unlink()
    table = {k: name for name, keys in halves.items() for k in keys}
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": table})
    )
    assert np.array_equal(ssl_extractor(config(folder))(sound(0.5)), before)


def test_names_of_older_files(folder: Path) -> None:
    """Weight normalisation as files from before 2024 name it."""
    from safetensors.numpy import load_file, save_file

    before = ssl_extractor(config(folder))(sound(0.5))
    weights = load_file(folder / "model.safetensors")
    names = {"parametrizations.weight.original0": "weight_g"}
    names |= {"parametrizations.weight.original1": "weight_v"}
    renamed = {}
    for key, value in weights.items():
        for new, old in names.items():
            key = key.replace(new, old)
        renamed[key] = value
    assert any("weight_g" in key for key in renamed)
    save_file(renamed, folder / "model.safetensors", {"format": "pt"})
    assert np.array_equal(ssl_extractor(config(folder))(sound(0.5)), before)


def test_without_the_library_the_extra_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(ssl, "version", none)
    with pytest.raises(MissingExtraError, match=r"voicetone\[ssl,train\]"):
        ssl_extractor(config(folder))


def test_from_the_command_line_and_in_a_classifier(
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from voicetone.training.run import train

    monkeypatch.setenv("VOICETONE_CACHE", str(tmp_path / "cache"))
    corpus = toy_corpus.make(tmp_path / "toy", speakers=3)
    options = ["--set", "ssl", "--model", str(made / "wav2vec2"), "--layer", "1"]
    assert run(["features", str(corpus), *options, "--out", str(tmp_path / "f.csv")]) == 0
    said = capsys.readouterr().out
    assert "ssl functionals of wav2vec2, layer 1: 36 utterances, 32 features, 36 computed" in said
    assert (tmp_path / "f.csv").read_text().splitlines()[0].endswith("ssl_15_sd")
    assert run(["features", str(corpus), *options[:-1], "9"]) == 3
    assert "no hidden state 9" in capsys.readouterr().err
    chosen = f'name = "ssl"\nmodel = "{made / "wav2vec2"}"\nlayer = 1'
    text = toy_corpus.SVM.replace('name = "mfcc"\nlevel = "functionals"', chosen)
    path = toy_corpus.recipe(corpus, tmp_path / "toy.toml", text.replace("C = 0.01", "C = 1.0"))
    done = train(path)
    metrics = json.loads((done / "metrics.json").read_text())
    assert metrics["uar"]["mean"] > 0.8
    assert metrics["features"].startswith("ssl functionals of wav2vec2, layer 1;")
    settings = json.loads((done / "recipe.json").read_text())
    assert settings["features"]["model"] == "wav2vec2"
    assert settings["ssl_weights"] == source(made / "wav2vec2").digest
    with pytest.raises(DataError, match="holds a run of other settings"):
        train(path, ["features.layer=2"])


def test_other_recipes_are_what_they_were(tmp_path: Path) -> None:
    from voicetone.training.classifier_data import gather
    from voicetone.training.classifier_recipe import ClassifierRecipe
    from voicetone.training.classifier_run import resolved
    from voicetone.training.recipe import dataclass_from, read_recipe

    corpus = toy_corpus.make(tmp_path / "toy", speakers=3, each=1)
    path = toy_corpus.recipe(corpus, tmp_path / "toy.toml")
    recipe = dataclass_from(ClassifierRecipe, read_recipe(path), path, [])
    found = resolved(recipe, gather(recipe, refit=False))
    assert found["features"] == {
        "name": "mfcc",
        "level": "functionals",
        "cut_seconds": None,
        "normalise": "global",
    }
    assert "ssl_weights" not in found
