"""Augmented features of the tone model's corpora, made once and kept on disk.

Every clip is turned into `variants` feature sequences: the first as recorded, the others through
drawn transforms. A variant depends on the seed and its own clip alone, so folds can share them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voicetone.audio.units import FRAME, SAMPLE_RATE
from voicetone.augment.codec import codec
from voicetone.augment.draws import generator
from voicetone.augment.gain import gain
from voicetone.augment.noise import noise
from voicetone.augment.pitch import pitch
from voicetone.augment.reverb import reverb
from voicetone.augment.rooms import room_reverb
from voicetone.augment.speed import at_rate, speed
from voicetone.augment.telephone import telephone
from voicetone.corpora.prepared import data_root, rows
from voicetone.features.extract import samples_of
from voicetone.features.spectral import SpectralConfig, spectral_features
from voicetone.features.workers import worker_pool
from voicetone.training.tone_recipe import Renderings
from voicetone.types import Floats, Utterance, Waveform


@dataclass(frozen=True, slots=True)
class AugmentConfig:
    """How often each transform is drawn for a variant."""

    pitch: float = 0.5
    pitch_semitones: float = 2.0
    reverb: float = 0.3
    noise: float = 0.4
    room: float = 0.0
    """Simulated rooms; where one is drawn there is no measured one."""
    telephone: float = 0.25
    codec: float = 0.0
    """G.711 or GSM 06.10 over a telephone's band, where `telephone` is not drawn."""
    noise_folds: tuple[int, ...] = (1, 2, 3)
    """Folds of the noise corpus that training may hear; if none, it isn't looked for."""


def augment_config(
    wanted: Renderings, noise_folds: tuple[int, ...], *, noises: bool = True, rooms: bool = True
) -> AugmentConfig:
    """A recipe's shares.

    Args:
        wanted: the recipe's.
        noise_folds: folds of the noise corpus that may be heard.
        noises: whether there is a noise corpus.
        rooms: whether there are measured rooms.
    """
    return AugmentConfig(
        pitch=wanted.pitch,
        pitch_semitones=wanted.pitch_semitones,
        reverb=wanted.reverb if rooms else 0.0,
        noise=wanted.noise if noises else 0.0,
        room=wanted.room,
        telephone=wanted.telephone,
        codec=wanted.codec,
        noise_folds=noise_folds if noises else (),
    )


@dataclass(frozen=True, slots=True)
class Sounds:
    """What the transforms draw from, at 16 kHz."""

    noises: tuple[Floats, ...]
    responses: tuple[Floats, ...]


@dataclass(frozen=True, slots=True)
class Clip:
    """Feature frames float16 `[2n, F]` and speech labels `[n]`."""

    features: NDArray[np.float16]
    speech: NDArray[np.bool_]


def load(path: str | Path) -> Waveform:
    """A file as a mono waveform at 16 kHz."""
    from voicetone.audio.decode import read_audio

    return read_audio(Path(path)).mono().resample(SAMPLE_RATE)


def load_sounds(config: AugmentConfig, root: Path | None = None) -> Sounds:
    """Noises of the chosen folds and all room responses (each channel one response).

    What the settings never draw is not looked for.
    """
    from voicetone.audio.decode import read_audio

    root = root or data_root()
    noises = [
        load(r["path"]).samples[0]
        for r in (rows(root / "noise_esc10") if config.noise_folds else ())
        if int(r["fold"]) in config.noise_folds
    ]
    responses = []
    for r in rows(root / "rir") if config.reverb else ():
        if "telephone" not in r["file"]:
            responses += list(read_audio(Path(r["path"])).resample(SAMPLE_RATE).samples)
    return Sounds(tuple(noises), tuple(responses))


def features_of(wave: Waveform, config: SpectralConfig) -> Floats:
    """Features `[2n, F]` of a mono 16 kHz waveform, padded with zeros to whole frames."""
    samples = wave.samples[0]
    whole = -(-len(samples) // FRAME) * FRAME
    padded = np.pad(samples, (config.context, whole - len(samples)))
    features: Floats = spectral_features(padded[None], config)[0]
    return features


def speech_labels(features: Floats, mels: int) -> NDArray[np.bool_]:
    """Which model frames `[n]` of a clean studio clip hold speech, by energy.

    A frame counts when its band energy is within 35 dB of the clip's loud frames and 6 dB above
    its floor; gaps under 0.25 s between such frames count, too.
    """
    decibels = 10 / np.log(10) * features[:, : int(mels * 0.75)].mean(axis=1)
    decibels = decibels.reshape(-1, 2).max(axis=1)
    loud, floor = np.percentile(decibels, 95), np.percentile(decibels, 5)
    active: NDArray[np.bool_] = (decibels > loud - 35.0) & (decibels > min(floor + 6.0, loud - 6.0))
    positions = np.flatnonzero(active)
    for left, right in itertools.pairwise(positions):
        if right - left <= 8:
            active[left:right] = True
    return active


def speech_variant(
    wave: Waveform,
    rng: np.random.Generator,
    sounds: Sounds,
    config: AugmentConfig,
    spectral: SpectralConfig,
) -> Clip:
    """One augmented rendering of a clip of speech; labels come from before room and noise."""
    wave = speed(wave, rng)
    if rng.random() < config.pitch:
        wave = pitch(wave, rng, config.pitch_semitones)
    labels = speech_labels(features_of(wave, spectral), spectral.mels)
    # What a recipe doesn't ask for draws nothing, so that the rest is what it was without it.
    if config.room and rng.random() < config.room:
        wave = room_reverb(wave, rng)
    elif rng.random() < config.reverb:
        wave = reverb(wave, rng, sounds.responses)
    if rng.random() < config.noise:
        wave = noise(wave, rng, sounds.noises)
    if rng.random() < config.telephone:
        wave = telephone(wave, rng)
    elif config.codec and rng.random() < config.codec:
        wave = codec(wave, rng)
    wave = gain(wave, rng)
    return Clip(features_of(wave, spectral).astype(np.float16), labels)


def noise_variant(
    rng: np.random.Generator, sounds: Sounds, config: AugmentConfig, spectral: SpectralConfig
) -> Clip:
    """Four seconds that hold no speech: recorded noises, alone or two at once, or made ones."""
    length = 4 * SAMPLE_RATE
    if rng.random() < 0.75 and sounds.noises:
        base = Waveform(sounds.noises[int(rng.integers(len(sounds.noises)))][None], SAMPLE_RATE)
        base = at_rate(base, float(rng.uniform(0.8, 1.25)))
        base = Waveform(np.resize(base.samples, (1, length)), SAMPLE_RATE)
        if rng.random() < 0.3:
            base = noise(base, rng, sounds.noises, -5.0, 10.0)
    else:
        base = Waveform(made_noise(rng, length)[None], SAMPLE_RATE)
    if rng.random() < config.reverb:
        base = reverb(base, rng, sounds.responses)
    if rng.random() < config.telephone:
        base = telephone(base, rng)
    features = features_of(gain(base, rng, -30.0, 10.0), spectral)
    return Clip(features.astype(np.float16), np.zeros(len(features) // 2, dtype=bool))


def made_noise(rng: np.random.Generator, length: int) -> Floats:
    """White to brown noise, hum, line tones or digital silence, `[length]`."""
    time = np.arange(length) / SAMPLE_RATE
    kind = int(rng.integers(5))
    if kind == 0:
        return np.zeros(length, dtype=np.float32)
    if kind == 1:
        tones = ((350, 440), (440, 480), (480, 620), (425, 425), (697, 1209), (941, 1477))
        low, high = tones[int(rng.integers(len(tones)))]
        sound = np.sin(2 * np.pi * low * time) + np.sin(2 * np.pi * high * time)
        sound *= (time % rng.uniform(0.3, 6.0)) < rng.uniform(0.1, 3.0)
    elif kind == 2:
        hum = rng.choice([50.0, 60.0])
        sound = sum(np.sin(2 * np.pi * hum * k * time) / k for k in range(1, 8))
    else:
        spectrum = np.fft.rfft(rng.standard_normal(length))
        slope = rng.uniform(0.0, 2.0) / 2
        sound = np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 1) ** slope, length)
    sound = sound / (np.abs(sound).max() + 1e-9) * 10 ** rng.uniform(-3.0, -0.3)
    return np.asarray(sound + 1e-4 * rng.standard_normal(length), dtype=np.float32)


_shared: dict[str, Sounds] = {}


def _start(config: AugmentConfig, root: Path) -> None:
    _shared["sounds"] = load_sounds(config, root)


def _variants(
    utterance: Utterance, count: int, seed: int, config: AugmentConfig, spectral: SpectralConfig
) -> list[Clip]:
    wave = Waveform(samples_of(utterance)[None], SAMPLE_RATE)
    clean = features_of(wave, spectral)
    out = [Clip(clean.astype(np.float16), speech_labels(clean, spectral.mels))]
    for index in range(1, count):
        rng = generator(seed, utterance.id, index)
        out.append(speech_variant(wave, rng, _shared["sounds"], config, spectral))
    return out


def _noises(
    index: int, count: int, seed: int, config: AugmentConfig, spectral: SpectralConfig
) -> list[Clip]:
    rng = generator(seed, "noise", index)
    return [noise_variant(rng, _shared["sounds"], config, spectral) for _ in range(count)]


@dataclass(frozen=True)
class ClipStore:
    """Variants of clips, one after another in two arrays.

    `features` float16 `[frames, F]`, `speech` bool `[frames / 2]`, `starts` `[clips, variants]`
    and `lengths` in feature frames.
    """

    features: NDArray[np.float16]
    speech: NDArray[np.bool_]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def clip(self, index: int, variant: int) -> Clip:
        start, length = self.starts[index, variant], self.lengths[index, variant]
        return Clip(
            self.features[start : start + length],
            self.speech[start // 2 : (start + length) // 2],
        )


def pack(clips: Sequence[Sequence[Clip]]) -> ClipStore:
    """A store of the same number of variants for each clip."""
    lengths = np.array([[len(c.features) for c in row] for row in clips], dtype=np.int64)
    ends = np.cumsum(lengths.ravel())
    return ClipStore(
        np.concatenate([c.features for row in clips for c in row]),
        np.concatenate([c.speech for row in clips for c in row]),
        (ends - lengths.ravel()).reshape(lengths.shape),
        lengths,
    )


def normalisation(store: ClipStore, train: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Mean and standard deviation `[F]` of clips as recorded and once varied, clip by clip."""
    size = store.features.shape[1]
    count, total, squares = 0, np.zeros(size), np.zeros(size)
    for row in train:
        for variant in range(min(2, store.starts.shape[1])):
            frames = store.clip(int(row), variant).features.astype(np.float64)
            count += len(frames)
            total += frames.sum(axis=0)
            squares += (frames**2).sum(axis=0)
    mean = total / max(count, 1)
    spread = np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 0.0)) + 1e-3
    return mean.astype(np.float32), spread.astype(np.float32)


def build(
    utterances: Sequence[Utterance],
    noise_clips: int,
    variants: int,
    seed: int,
    config: AugmentConfig,
    spectral: SpectralConfig,
    cache: Path,
    *,
    root: Path,
    workers: int,
    progress: Callable[[int, int], None],
) -> ClipStore:
    """The store of all utterances, then of `noise_clips` clips without speech.

    Made with `workers` processes, or read from `cache` when made before with these settings.
    """
    folder = cache / _key(utterances, noise_clips, variants, seed, config, spectral, root)
    parts = ("features", "speech", "starts", "lengths")
    if not (folder / "done").exists():
        common = (variants, seed, config, spectral)
        jobs = [partial(_variants, utterance, *common) for utterance in utterances]
        jobs += [partial(_noises, index, *common) for index in range(noise_clips)]
        store = pack(_rendered(jobs, workers, config, root, progress))
        # Beside its place and then moved there: another run may be making the same.
        unfinished = cache / f".{folder.name}-{uuid.uuid4().hex}"
        unfinished.mkdir(parents=True)
        for part in parts:
            np.save(unfinished / f"{part}.npy", getattr(store, part))
        (unfinished / "done").touch()
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
        try:
            unfinished.rename(folder)
        except OSError:  # the other run was quicker
            shutil.rmtree(unfinished)
    # Mapped, so that processes side by side share one copy.
    return ClipStore(*(np.load(folder / f"{part}.npy", mmap_mode="r") for part in parts))


def _rendered(
    jobs: Sequence[Callable[[], list[Clip]]],
    workers: int,
    config: AugmentConfig,
    root: Path,
    progress: Callable[[int, int], None],
) -> list[list[Clip]]:
    clips: list[list[Clip]] = []
    if workers == 1:
        _shared["sounds"] = load_sounds(config, root)
        for make in jobs:
            clips.append(make())
            progress(len(clips), len(jobs))
        return clips
    with worker_pool(workers, _start, (config, root)) as pool:
        for made in [pool.submit(make) for make in jobs]:
            clips.append(made.result())
            progress(len(clips), len(jobs))
    return clips


def _key(
    utterances: Sequence[Utterance],
    noise_clips: int,
    variants: int,
    seed: int,
    config: AugmentConfig,
    spectral: SpectralConfig,
    root: Path,
) -> str:
    """A name for what would be rendered: settings, recordings, noises and rooms."""
    digest = hashlib.sha256()
    settings = [asdict(config), spectral.to_dict(), seed, variants, noise_clips, _code_version()]
    digest.update(json.dumps(settings).encode())
    known: dict[Path, bytes] = {}
    for utterance in utterances:
        digest.update(utterance.id.encode())
        if utterance.start or utterance.end is not None or utterance.channel is not None:
            part = (utterance.start, utterance.end, utterance.channel)
            digest.update(json.dumps(part).encode())
        if utterance.audio not in known:  # a long recording may hold many utterances
            known[utterance.audio] = hashlib.sha256(utterance.audio.read_bytes()).digest()
        digest.update(known[utterance.audio])
    for folder, heard in (("noise_esc10", config.noise_folds), ("rir", config.reverb)):
        if heard:
            digest.update((root / folder / "manifest.csv").read_bytes())
    return digest.hexdigest()[:16]


def _code_version() -> int:
    """Raised by hand when the transforms change what they give."""
    return 1
