"""Self-supervised front ends: a batch is each utterance alone, and what is trained moves."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers")
import torch

import ssl_models
from voicetone.errors import AudioError, DataError, UsageError
from voicetone.features.ssl import hidden_states, log_mel, open_network
from voicetone.features.ssl_source import source
from voicetone.models.ssl import SslConfig, SslFront, load
from voicetone.models.ssl_parts import MaskedGroupNorm, spans
from voicetone.training.ssl_export import export

FAMILIES = tuple(ssl_models.FAMILIES)
LENGTHS = torch.tensor([16_000, 9_000, 4_001])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("ssl")
    return {family: ssl_models.make(root / family, family) for family in FAMILIES}


def sound(rows: int, count: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(rows, count, generator=torch.Generator().manual_seed(seed))


def front(folder: Path, **more: object) -> SslFront:
    return load(SslConfig(str(folder), **more))  # type: ignore[arg-type]


@pytest.mark.parametrize("layer", [None, 0, 2, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_is_each_utterance_alone(
    folders: dict[str, Path], family: str, layer: int | None
) -> None:
    heard = front(folders[family], layer=layer).eval()
    samples = sound(3, 16_000)
    with torch.no_grad():
        frames, real = heard(samples, LENGTHS)
        assert frames.shape == (3, 50 if family == "whisper" else 49, heard.size)
        for row, count in enumerate(LENGTHS.tolist()):
            alone, whole = heard(samples[row : row + 1, :count], LENGTHS[row : row + 1])
            assert whole.all()
            assert int(real[row].sum()) == alone.shape[1] == int(heard.frames_of(LENGTHS)[row])
            assert torch.allclose(frames[row, : alone.shape[1]], alone[0], atol=1e-4)
        assert not frames[~real].any()
        louder = samples + 9.0 * (torch.arange(16_000) >= LENGTHS[:, None])
        assert torch.equal(heard(louder, LENGTHS)[0], frames)
    assert frames.std() > 0.1
    assert heard.frame_rate == 50.0


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_are_the_librarys(folders: dict[str, Path], family: str) -> None:
    """Which state is which, the normalisation, and Whisper's log-mel, as `transformers` has it."""
    import transformers

    samples = sound(1, 9_000)[0].numpy()
    found = source(folders[family])
    network = open_network(found).eval()
    if family == "whisper":
        first = transformers.WhisperFeatureExtractor(chunk_length=2)
        given = first(samples, sampling_rate=16_000, return_tensors="pt").input_features
        ours = log_mel(torch.from_numpy(samples)[None], 80, found.longest)
        assert torch.allclose(ours, given, atol=1e-3)
    else:
        first = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folders[family])
        given = first(samples, sampling_rate=16_000, return_tensors="pt").input_values
    with torch.no_grad():
        out = network(given, output_hidden_states=True)
    states = [*out.hidden_states[:3], out.last_hidden_state]
    for layer, expected in enumerate(states):
        cut = front(folders[family], layer=layer).eval()
        with torch.no_grad():
            frames, real = cut(torch.from_numpy(samples)[None], torch.tensor([9_000]))
        assert torch.allclose(frames[0], expected[0, : int(real.sum())], atol=1e-3)
        plain = hidden_states(found, cut_network(folders[family], layer), samples)
        assert np.allclose(plain, frames[0].numpy(), atol=1e-4)


def cut_network(folder: Path, layer: int) -> object:
    from voicetone.features.ssl import keep_layers

    network = open_network(source(folder)).eval()
    keep_layers(source(folder), network, layer)
    return network


def test_the_librarys_group_norm_would_hear_the_padding() -> None:
    norm = torch.nn.GroupNorm(4, 4)
    x = sound(2, 4 * 30).reshape(2, 4, 30)
    own = MaskedGroupNorm(norm)
    own.lengths = torch.tensor([30, 20])
    x[1, :, 20:] = 0
    assert torch.allclose(own(x)[0], norm(x)[0], atol=1e-5)
    assert torch.allclose(own(x)[1, :, :20], norm(x[1:, :, :20])[0], atol=1e-5)
    assert not torch.allclose(norm(x)[1, :, :20], norm(x[1:, :, :20])[0], atol=1e-2)
    assert set(own.state_dict()) == set(norm.state_dict())


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_of_layers(folders: dict[str, Path], family: str) -> None:
    heard = front(folders[family]).eval()
    args = (sound(1, 8_000), torch.tensor([8_000]))
    with torch.no_grad():
        states = [front(folders[family], layer=i).eval()(*args)[0] for i in range(4)]
        assert torch.allclose(heard(*args)[0], torch.stack(states).mean(0), atol=1e-4)
        heard.mix[:] = torch.tensor([0.0, 0.0, 50.0, 0.0])
        assert torch.allclose(heard(*args)[0], states[2], atol=1e-4)
        even = front(folders[family], normalise_states=True).eval()
        even.mix[2] = 50.0
        expected = torch.nn.functional.layer_norm(states[2], (16,))
        assert torch.allclose(even(*args)[0], expected, atol=1e-4)
    heard.train()
    heard(*args)[0].square().sum().backward()
    assert {n for n, p in heard.named_parameters() if p.grad is not None} == {"mix"}


@pytest.mark.parametrize("family", FAMILIES)
def test_frozen_stays_as_it_is_in_training_mode(folders: dict[str, Path], family: str) -> None:
    heard = front(folders[family], layer=3, mask_time=0.5)
    args = (sound(2, 8_000), torch.tensor([8_000, 5_000]))
    still = heard.eval()(*args)[0]
    moving = heard.train()(*args)[0]
    assert heard.training
    assert not heard.network.training
    assert torch.equal(still, moving)
    assert not moving.requires_grad


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_trained(folders: dict[str, Path], family: str) -> None:
    heard = front(folders[family], layer=3, trainable=True).train()
    args = (sound(2, 8_000), torch.tensor([8_000, 5_000]))
    heard(*args)[0].square().sum().backward()
    moved = {n for n, p in heard.named_parameters() if p.grad is not None}
    assert any(".layers.0." in n for n in moved)
    assert not any("feature_extractor" in n or "embed_positions" in n for n in moved)
    heard.zero_grad()
    heard.unfreeze(top_layers=1)
    heard.train()
    heard(*args)[0].square().sum().backward()
    moved = {n for n, p in heard.named_parameters() if p.grad is not None}
    assert moved
    assert all(".layers.2." in n for n in moved)
    for wrong in (0, 4):
        with pytest.raises(DataError, match=r"top_layers = . can't be trained: give 1 to 3"):
            heard.unfreeze(top_layers=wrong)
    heard.freeze()
    assert not any(p.requires_grad for p in heard.parameters())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["mask_time", "mask_feature"])
def test_masks_are_drawn_in_training_only_and_again_from_one_seed(
    folders: dict[str, Path], family: str, kind: str, no_dropout: None
) -> None:
    args = (sound(2, 16_000), torch.tensor([16_000, 9_000]))

    def trained(seed: int, share: float) -> SslFront:
        other = {"mask_time": 0.0, "mask_feature": 0.0, kind: share}
        return front(folders[family], layer=1, trainable=True, seed=seed, **other).train()

    with torch.no_grad():
        plain = trained(0, 0.0)
        unmasked = plain(*args)[0]
        assert torch.equal(unmasked, plain.eval()(*args)[0])
        one = trained(1, 0.6)
        first, second = one(*args)[0], one(*args)[0]
        assert not torch.allclose(first, unmasked, atol=1e-3)
        assert not torch.equal(first, second)
        assert torch.equal(trained(1, 0.6)(*args)[0], first)
        assert not torch.equal(trained(2, 0.6)(*args)[0], first)
        assert torch.equal(one.eval()(*args)[0], unmasked)


@pytest.fixture
def no_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only masks move."""
    monkeypatch.setattr(torch.nn.functional, "dropout", lambda x, *_, **__: x)
    real = torch.nn.functional.multi_head_attention_forward

    def without(*args: object, **more: object) -> object:
        return real(*args[:10], 0.0, *args[11:], **more)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.nn.functional, "multi_head_attention_forward", without)
    attend = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda *a, **more: attend(*a, **{**more, "dropout_p": 0.0}),
    )


def test_the_models_own_masks(tmp_path: Path) -> None:
    own = {"mask_time_prob": 0.5, "mask_time_length": 4, "mask_feature_prob": 0.25}
    folder = ssl_models.make(tmp_path / "m", "wav2vec2", **own)
    heard = front(folder, layer=1, trainable=True)
    assert heard._spans("mask_time", [400], 400).float().mean() == pytest.approx(0.4, abs=0.08)
    assert heard._share("mask_feature", None) == 0.25
    assert heard._share("mask_time", 0.1) == 0.1
    off = ssl_models.make(tmp_path / "off", "wav2vec2", apply_spec_augment=False)
    assert front(off, layer=1, trainable=True)._share("mask_time", None) == 0.0


def test_spans() -> None:
    masked = spans([100, 40, 3, 10], 100, 0.3, 10, 2, torch.Generator().manual_seed(0))
    assert masked.shape == (4, 100)
    assert masked[0].sum() in range(10, 41)
    assert not masked[1, 40:].any()
    assert masked[1].sum() >= 11  # two different starts
    assert not masked[2].any()  # no room
    assert masked[3].tolist() == [True] * 10 + [False] * 90
    assert not spans([100], 100, 0.0, 10, 0, torch.Generator()).any()


@pytest.mark.parametrize("layer", [None, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_graph_gives_the_same(
    folders: dict[str, Path], tmp_path: Path, family: str, layer: int | None
) -> None:
    from voicetone.pretrained.runtime import open_graph, run_graph

    heard = front(folders[family], layer=layer)
    export(heard, tmp_path / "front.onnx")
    graph = open_graph((tmp_path / "front.onnx").read_bytes(), 1)
    for rows, count, lengths in ((3, 16_000, [16_000, 9_000, 4_001]), (1, 7_777, [7_777])):
        samples, ends = sound(rows, count, 3), torch.tensor(lengths)
        with torch.no_grad():
            frames, real = heard(samples, ends)
        given = {"samples": samples.numpy(), "lengths": ends.numpy()}
        out, known = run_graph(graph, given, ["frames", "real"])
        assert np.allclose(out, frames.numpy(), atol=1e-4)
        assert np.array_equal(known, real.numpy())


def test_what_can_not_be_heard(folders: dict[str, Path], tmp_path: Path) -> None:
    heard = front(folders["wav2vec2"], layer=1)
    with pytest.raises(AudioError, match="an utterance of 399 samples has no frame"):
        heard(sound(2, 8_000), torch.tensor([8_000, 399]))
    assert heard(sound(2, 8_000), torch.tensor([8_000, 400]))[1][1].sum() == 1
    whisper = front(folders["whisper"], layer=1)
    assert whisper(sound(1, 32_000), torch.tensor([32_000]))[0].shape[1] == 100
    with pytest.raises(AudioError, match="more than Whisper's window: cut them into pieces"):
        whisper(sound(1, 32_001), torch.tensor([32_001]))
    with pytest.raises(DataError, match="can't be written"):
        export(heard, tmp_path / "none" / "front.onnx")


def test_too_large_for_one_graph(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voicetone.training.ssl_export._MOST", 1_000)
    with pytest.raises(DataError, match="of weights don't go into one ONNX file"):
        export(front(folders["hubert"], layer=1), tmp_path / "front.onnx")


def test_settings_that_can_not_be(folders: dict[str, Path]) -> None:
    with pytest.raises(DataError, match=r"no hidden state 4: choose a layer from 0, .* to 3"):
        front(folders["hubert"], layer=4)
    with pytest.raises(DataError, match=r"mask_time = 1\.0 masks no share"):
        SslConfig("x", mask_time=1.0)
    with pytest.raises(UsageError, match="give a folder, or NAME@REVISION"):
        load(SslConfig("some/model"))


def test_from_the_hub(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def download(name: str, revision: str, allow_patterns: list[str]) -> str:
        asked.append((name, revision, tuple(allow_patterns)))
        if name == "some/none":
            raise OSError("no such\nmodel")
        return str(folders["hubert"])

    fake = types.ModuleType("huggingface_hub")
    fake.snapshot_download = download  # type: ignore[attr-defined]
    import transformers  # noqa: F401  # before its own part is replaced

    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    from voicetone.models import ssl

    assert ssl.fetched("some/model", "abc", ssl._WANTED) == folders["hubert"]
    assert asked[0][:2] == ("some/model", "abc")
    assert not any(p.endswith((".bin", "*", ".py")) for p in asked[0][2])  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"some/none@abc: can't be fetched \(no such model\)"):
        load(SslConfig("some/none@abc"))
