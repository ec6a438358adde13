"""Speaker embeddings: statistics and d-vectors, without anybody's weights."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.sounds import RATE, tone
from voicetone.errors import AudioError, DataError
from voicetone.features import dvector
from voicetone.features.dvector import (
    BANDS,
    PART,
    SIZE,
    DVector,
    graph_path,
    mel_power,
    normalised,
    part_starts,
    slaney_filters,
)
from voicetone.features.speaker import SpeakerEncoder, StatisticsEncoder, require_size, unit
from voicetone.pretrained.speakers import open_dvector, speaker_encoder


def voice(pitch: float, seconds: float, seed: int = 0) -> np.ndarray:
    """Harmonics with a little noise."""
    rng = np.random.default_rng(seed)
    sound = sum(tone(pitch * k, seconds, level=0.2 / k) for k in range(1, 9))
    return (sound + 0.003 * rng.standard_normal(len(sound))).astype(np.float32)


def means(mel: np.ndarray) -> np.ndarray:
    """A network for a `DVector`: each band's mean, over and over."""
    return np.tile(mel.mean(axis=1), (1, 7))[:, :SIZE]


ENCODERS = [StatisticsEncoder(), DVector(means)]


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda e: e.id)
def test_an_encoder_keeps_its_promises(encoder: SpeakerEncoder) -> None:
    assert isinstance(encoder, SpeakerEncoder)
    waves = [voice(120, 0.1), voice(120, 2.3, 1), voice(240, 7.0)]
    found = encoder.embed(waves)
    assert found.shape == (3, encoder.size)
    assert found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-6)
    alone = np.concatenate([encoder.embed([wave]) for wave in waves])
    assert np.allclose(found, alone, atol=1e-6)
    assert encoder.embed([]).shape == (0, encoder.size)
    alike, apart = found[1] @ encoder.embed([voice(120, 2.0, 2)])[0], found[1] @ found[2]
    assert alike > apart + 0.01


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda e: e.id)
@pytest.mark.parametrize(
    ("wave", "told"),
    [
        (np.zeros(RATE, np.float32), "no voice in it"),
        (np.zeros(1000, np.float32), r"0\.062 s is too short"),
        (np.zeros((2, RATE), np.float32), r"shape \[2, 16000\]"),
        (np.zeros(RATE, np.int16), "type int16"),
        (np.full(RATE, np.nan, np.float32), "NaN"),
        (np.zeros(3601 * RATE, np.float32), "3601 s at once is too long"),
    ],
)
def test_what_is_no_voice(encoder: SpeakerEncoder, wave: np.ndarray, told: str) -> None:
    with pytest.raises(AudioError, match=told):
        encoder.embed([wave])


def test_statistics_do_not_know_the_level() -> None:
    encoder = StatisticsEncoder()
    loud = voice(150, 1.0)
    assert np.allclose(*encoder.embed([loud, 0.1 * loud]), atol=5e-3)  # but for the floor
    padded = np.concatenate([loud, np.zeros(4 * RATE, np.float32)])
    assert encoder.embed([loud])[0] @ encoder.embed([padded])[0] > 0.99  # silence is not active


def test_mel_power_by_definition() -> None:
    wave = voice(200, 0.1)
    found = mel_power(wave)
    assert found.shape == (1 + len(wave) // 160, BANDS)
    padded = np.concatenate([np.zeros(200), wave, np.zeros(200)])
    time = np.arange(400)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * time / 400)
    for frame in (0, 3, len(found) - 1):
        part = padded[frame * 160 : frame * 160 + 400] * hann
        bins = np.exp(-2j * np.pi * np.outer(np.arange(201), time) / 400) @ part
        assert np.allclose(np.abs(bins) ** 2 @ slaney_filters(BANDS, 400), found[frame], rtol=1e-4)


def test_spectra_in_blocks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    wave = voice(200, 1.0)
    whole = mel_power(wave)
    monkeypatch.setattr(dvector, "_FRAMES_AT_ONCE", 7)
    assert np.allclose(mel_power(wave), whole, rtol=1e-6)


def test_slaney_bands() -> None:
    bands = slaney_filters(40, 400)
    areas = bands.sum(axis=0) * 40.0  # Hz between two bins
    assert (areas[15:] > 0.8).all()  # of triangles with an area of 1, sampled
    assert (areas < 1.3).all()
    centres = bands.argmax(axis=0) * 40.0
    assert np.diff(centres[:12]).max() <= 120  # evenly spaced below 1000 Hz
    assert centres[-1] / centres[-2] == pytest.approx(centres[-5] / centres[-6], rel=0.03)


@pytest.mark.parametrize(
    ("seconds", "starts"),
    [
        (0.1, [0]),
        (1.6, [0]),
        (1.96, [0]),
        (1.98, [0, 77]),
        (3.0, [0, 77, 154]),
        (5.0, [0, 77, 154, 231, 308]),
    ],
)
def test_parts_of_an_utterance(seconds: float, starts: list[int]) -> None:
    assert part_starts(round(seconds * RATE)) == starts


def test_quiet_ones_are_raised_and_loud_ones_are_not() -> None:
    quiet = normalised(0.001 * voice(100, 0.5))
    assert 20 * np.log10(np.sqrt((quiet**2).mean())) == pytest.approx(-30, abs=1e-3)
    loud = voice(100, 0.5)
    assert np.array_equal(normalised(loud), loud)
    assert not normalised(np.zeros(100, np.float32)).any()


def test_a_long_wave_is_heard_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def run(mel: np.ndarray) -> np.ndarray:
        sizes.append(mel.shape)
        return means(mel)

    wave = voice(130, 12.0)
    whole = DVector(means).embed([wave])
    monkeypatch.setattr(dvector, "_PARTS_AT_ONCE", 4)
    assert np.allclose(DVector(run).embed([wave]), whole, atol=1e-6)
    assert sizes[0] == (4, PART, BANDS)
    assert sum(size[0] for size in sizes) == len(part_starts(len(wave)))


def test_lengths_and_sizes() -> None:
    assert np.allclose(unit(np.array([[3.0, 4.0], [0.0, 2.0]])), [[0.6, 0.8], [0.0, 1.0]])
    with pytest.raises(AudioError, match="zero"):
        unit(np.zeros(3))
    assert require_size(np.ones(4), 4, "a.npy").dtype == np.float32
    with pytest.raises(DataError, match=r"a\.npy: a speaker embedding of shape \[3\] where.*\[4\]"):
        require_size(np.ones(3), 4, "a.npy")
    with pytest.raises(DataError, match="holds no numbers"):
        require_size(np.full(4, np.inf), 4, "a.npy")


def test_names_of_encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert speaker_encoder("statistics").id == "statistics-1"
    with pytest.raises(DataError, match="no speaker encoder 'ecapa'"):
        speaker_encoder("ecapa")
    with pytest.raises(DataError, match=r"pip install --no-deps Resemblyzer==0\.1\.4 && python -m"):
        speaker_encoder("dvector", root=tmp_path)
    monkeypatch.setenv("VOICETONE_CACHE", str(tmp_path))
    assert graph_path().parent == tmp_path / "speaker"
    graph_path().parent.mkdir()
    graph_path().write_bytes(b"not a graph")
    with pytest.raises(DataError, match="dvector-"):
        speaker_encoder("dvector")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A network of random weights, kept as the published ones are."""
    torch = pytest.importorskip("torch", reason="needs the extra train")
    from voicetone.models.dvector import DVectorNet

    path = tmp_path_factory.mktemp("weights") / "pretrained.pt"
    generator = torch.Generator().manual_seed(0)
    net = DVectorNet().eval()
    with torch.no_grad():
        for value in net.parameters():
            value.copy_(0.15 * torch.randn(value.shape, generator=generator))
    state = {**net.state_dict(), "similarity_weight": torch.ones(1)}
    torch.save({"step": 1, "model_state": state}, path)
    return path, net


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_graph_is_the_network(
    made: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from voicetone.models import dvector as models
    from voicetone.training.dvector_export import ensure_dvector

    path, net = made
    sha256 = digest(path)
    monkeypatch.setattr(models, "weights_path", lambda: path)
    with pytest.raises(DataError, match="other weights than those"):
        ensure_dvector(tmp_path)
    assert not list(tmp_path.iterdir())
    read = models.read_network
    monkeypatch.setattr(models, "read_network", lambda p: read(p, sha256))
    graph = ensure_dvector(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [graph.name]
    monkeypatch.setattr(models, "read_network", lambda _: pytest.fail("converted twice"))
    assert ensure_dvector(tmp_path) == graph

    def run(mel: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(net(torch.from_numpy(mel)).numpy())

    waves = [voice(110, 0.5), voice(170, 2.5), voice(230, 9.0)]
    found, wanted = open_dvector(tmp_path).embed(waves), DVector(run).embed(waves)
    assert np.allclose(found, wanted, atol=1e-5)
    assert found[0] @ found[2] < 0.999  # it hears something


def test_weights_that_are_none(made: tuple[Path, Any], tmp_path: Path) -> None:
    import torch

    from voicetone.models.dvector import read_network

    with pytest.raises(DataError, match="can't be read"):
        read_network(tmp_path / "none.pt")
    for content in ({"model_state": {}}, {"other": 1}, {"model_state": {"lstm.weight_ih_l0": 3}}):
        path = tmp_path / "odd.pt"
        torch.save(content, path)
        with pytest.raises(DataError, match="no weights of d-vectors in it"):
            read_network(path, digest(path))
    state = dict(made[1].state_dict())
    state["linear.bias"] = torch.zeros(7)
    torch.save({"model_state": state}, path)
    with pytest.raises(DataError, match="no weights of d-vectors in it"):
        read_network(path, digest(path))
    torch.save(Path, path)  # code instead of tensors
    with pytest.raises(DataError, match="no weights of d-vectors in it"):
        read_network(path, digest(path))


def test_the_package_is_found_without_its_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="needs the extra train")
    from voicetone.models import dvector as models

    class Installed:
        def locate_file(self, name: str) -> Path:
            return tmp_path / name

    monkeypatch.setattr(models, "distribution", lambda _: Installed())
    with pytest.raises(DataError, match="are not there: pip install --no-deps"):
        models.weights_path()
    file = tmp_path / "resemblyzer" / "pretrained.pt"
    file.parent.mkdir()
    file.write_bytes(b"")
    assert models.weights_path() == file

    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(models, "distribution", missing)
    with pytest.raises(DataError, match=r"a package: pip install --no-deps Resemblyzer==0\.1\.4"):
        models.weights_path()


def test_published_weights(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the extra train")
    try:
        distribution(dvector.PACKAGE)
    except PackageNotFoundError:
        pytest.skip(f"{dvector.PACKAGE} is not installed: {dvector.INSTALL}")
    import torch

    from voicetone.models.dvector import read_network, weights_path
    from voicetone.training.dvector_export import ensure_dvector

    ensure_dvector(tmp_path)
    encoder, net = open_dvector(tmp_path), read_network(weights_path())

    def run(mel: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(net(torch.from_numpy(mel)).numpy())

    waves = [voice(110, 0.5), voice(170, 2.5), voice(230, 4.0)]
    assert np.allclose(encoder.embed(waves), DVector(run).embed(waves), atol=1e-5)
