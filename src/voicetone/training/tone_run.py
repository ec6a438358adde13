"""The tone model's run: folds, their predictions, scores, calibration, and the final bundle.

Every fold is the whole recipe with some speakers held out, so what is measured is what ships.
A run is resumed from the predictions of the folds that it has.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from dataclasses import asdict, dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from voicetone.corpora.manifest import Manifest
from voicetone.corpora.prepared import rows
from voicetone.errors import DataError
from voicetone.features.spectral import SpectralConfig
from voicetone.features.workers import ProgressLines, worker_pool
from voicetone.models.tone import ToneNet
from voicetone.training.bundle_weights import FINAL, Parent, child
from voicetone.training.device import device_of_choice
from voicetone.training.finetune import (
    SoundFolders,
    fit_from,
    in_labels,
    parent_of,
    sound_folders,
)
from voicetone.training.protocol import FoldTable
from voicetone.training.runs import RunFolder
from voicetone.training.tone_batches import Labels, labels_of
from voicetone.training.tone_corpora import fold_table, read_corpora
from voicetone.training.tone_data import Clip, ClipStore, augment_config, build, features_of, load
from voicetone.training.tone_fit import fit, fit_presence, logits_of
from voicetone.training.tone_recipe import ToneRecipe
from voicetone.training.tone_tables import FoldPredictions, read_fold, write_fold
from voicetone.training.tone_weights import read_weights, write_weights
from voicetone.training.voice_recipe import VoiceRecipe
from voicetone.training.voice_speech import read_words, speech_of
from voicetone.training.voice_stages import fit_tone, learn
from voicetone.types import EMOTIONS, Utterance


@dataclass(frozen=True)
class Material:
    """All that the folds of a run share."""

    manifests: tuple[Manifest, ...]
    utterances: tuple[Utterance, ...]
    labels: Labels
    table: FoldTable
    store: ClipStore
    noises: dict[int, list[Clip]]
    """Noise clips as recorded, by fold of the noise corpus."""
    sounds: SoundFolders | None = None
    """What augmentation drew from."""
    parent: Parent | None = None
    """What training starts from; from scratch if None."""
    words: tuple[Manifest, ...] = ()
    """Corpora without labels, for the stages before the tone; behind the others."""


def run_folder(
    recipe: ToneRecipe, table: FoldTable, parent: Parent | None = None, learnt: str = ""
) -> RunFolder:
    """The run's folder, not yet made.

    Args:
        recipe: the settings.
        table: the folds.
        parent: what training starts from.
        learnt: hash of labels, speakers, words and recordings.
    """
    resolved = {**asdict(recipe), "labelled_data": learnt}
    if parent is None:
        # Runs from scratch are those of before there was anything to start from.
        for key in ("init_from", "finetune"):
            resolved.pop(key)
    else:
        sounds = sound_folders(recipe)
        # Wherever it lies: what is in it decides.
        resolved["init_from"] = Path(recipe.init_from).name
        resolved["parent"] = parent.digest
        resolved["measured_sounds"] = {"noises": sounds.noises, "rooms": sounds.rooms}
    for key in ("room", "codec"):  # which there were none of before
        if not resolved["augmentation"][key]:
            resolved["augmentation"].pop(key)
    if not resolved["first_folds"]:
        resolved.pop("first_folds")
    if resolved["balance"] == "weights":  # as it always was
        resolved.pop("balance")
    for part in resolved["corpora"]:
        if part["side"] == "both":
            part.pop("side")
        if not part["official"]:
            part.pop("official")
    # What is made of the folds afterwards and what is said of it changes none of their results.
    for key in ("final", "version", "licence", "notice", "int8"):
        resolved.pop(key, None)
    return RunFolder(Path(recipe.out or f"runs/{recipe.name}"), resolved, table)


def gather(recipe: ToneRecipe, *, final: bool) -> Material:
    """Read, render and label everything. The final model may hear the validation noises."""
    manifests = read_corpora(recipe)
    words = read_words(recipe) if isinstance(recipe, VoiceRecipe) else ()
    utterances = tuple(u for m in manifests for u in m)
    rendered = (*utterances, *(u for m in words for u in m))
    seen = {u.emotion for u in utterances}
    emotions = tuple(e for e in EMOTIONS if e in seen)
    settings = recipe.augmentation
    folds = recipe.noise_folds
    if not final:
        folds = tuple(f for f in folds if f != recipe.noise_validation)
    sounds = sound_folders(recipe)
    augment = augment_config(settings, folds, noises=sounds.noises, rooms=sounds.rooms)
    spectral = SpectralConfig()
    report = ProgressLines("rendering clips")
    store = build(
        rendered,
        recipe.noise_clips,
        settings.variants,
        recipe.seed,
        augment,
        spectral,
        Path(os.environ.get("VOICETONE_CACHE", ".cache")) / "tone",
        root=sounds.root,
        workers=os.cpu_count() or 1,
        progress=report,
    )
    noises: dict[int, list[Clip]] = {}
    for row in rows(sounds.root / "noise_esc10") if sounds.noises else ():
        features = features_of(load(row["path"]), spectral).astype(np.float16)
        clip = Clip(features, np.zeros(len(features) // 2, dtype=bool))
        noises.setdefault(int(row["fold"]), []).append(clip)
    return Material(
        manifests,
        utterances,
        labels_of(rendered, emotions),
        fold_table(recipe, manifests),
        store,
        noises,
        sounds,
        parent_of(recipe),
        words,
    )


@dataclass(frozen=True)
class Job:
    """What a process that trains folds works on."""

    recipe: ToneRecipe
    material: Material
    folder: Path
    count: Callable[[], None]
    """Called after every step."""


_job: list[Job] = []


def _start(recipe: ToneRecipe, folder: Path, steps: Synchronized[int]) -> None:
    """Prepare a process of its own: the rendered clips come from the disk."""

    def count() -> None:
        with steps.get_lock():
            steps.value += 1

    _job[:] = [Job(recipe, gather(recipe, final=False), folder, count)]


def _train_started(index: int) -> None:
    train_fold(_job[0], index)


def train_fold(job: Job, index: int) -> None:
    """Train one fold and write what it says of the clips that it never learnt from.

    Raises:
        DataError: the training diverged.
    """
    recipe, material, fold = job.recipe, job.material, job.material.table.folds[index]
    place = {u.id: i for i, u in enumerate(material.utterances)}
    train = np.array([place[key] for key in fold.train])

    def step(_: int, loss: float) -> None:
        if not np.isfinite(loss):
            raise DataError(f"fold {fold.name}: the loss is no number; lower the learning rate")
        job.count()

    seed = recipe.seed * 1000 + index
    # Another number of threads sums in another order: one, so that `jobs` changes no prediction.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        parts = [(p, place[key]) for p in ("validation", "test") for key in getattr(fold, p)]
        _write_beside(job, index, train, seed, parts, step)
        net = trained(job, index, train, seed, step)
    finally:
        torch.set_num_threads(threads)
    checkpoint = job.folder / "checkpoints" / f"{index:02d}.safetensors"
    write_weights(checkpoint, net, material.labels.emotions)
    write_fold(fold_folder(job.folder, index), _predict(net, material, parts, recipe))


def trained(
    job: Job,
    index: int | None,
    train: NDArray[np.int64],
    seed: int,
    progress: Callable[[int, float], None],
) -> ToneNet:
    """One network with its speech classifier: from scratch, on stages of its own, or from the
    run's parent.

    Args:
        job: the run.
        index: of the fold; None for the final model.
        train: rows that may be learnt from.
        seed: of everything that is drawn.
        progress: told of each step.
    """
    recipe, material, device = job.recipe, job.material, device_of_choice()
    common = (material.store, material.labels, train, seed, progress, device)
    if material.parent is not None:
        return fit_from(material.parent, recipe, *common)
    if isinstance(recipe, VoiceRecipe):
        speech = speech_of(recipe, material.table, material.utterances, material.words)
        folder = stage_folder(job.folder, index)
        learnt = learn(recipe, speech, material.store, index, folder, seed, progress, device)
        net = fit_tone(recipe, learnt, *common)
    else:
        net = fit(recipe, *common)
    fit_presence(net, recipe, material.store, train, seed)
    return net


def stage_folder(folder: Path, index: int | None) -> Path:
    """Where the stages of a fold lie, or of the final model."""
    return folder / "stages" / ("final" if index is None else f"{index:02d}")


def _write_beside(
    job: Job,
    index: int,
    train: NDArray[np.int64],
    seed: int,
    parts: Sequence[tuple[str, int]],
    step: Callable[[int, float], None],
) -> None:
    """What a fold's clips get from the parent as it is and, if asked for, from scratch."""
    recipe, material, parent = job.recipe, job.material, job.material.parent
    if parent is None:
        return
    emotions = material.labels.emotions
    before = in_labels(_predict(parent.net, material, parts, recipe), parent, emotions)
    write_fold(fold_folder(job.folder, index, "parent"), before)
    if recipe.finetune.scratch:
        sizes = child(parent, emotions, recipe.network.dropout, seed).config
        common = (material.store, material.labels, train, seed, step, device_of_choice())
        other = fit(recipe, *common, sizes)
        write_fold(
            fold_folder(job.folder, index, "scratch"), _predict(other, material, parts, recipe)
        )


def fold_folder(folder: Path, index: int, kind: str = "folds") -> Path:
    """Where a fold's predictions lie: the run's own, or `parent`'s or those from `scratch`."""
    return folder / kind / f"{index:02d}"


def _predict(
    net: ToneNet, material: Material, parts: Sequence[tuple[str, int]], recipe: ToneRecipe
) -> FoldPredictions:
    """What a fold's network says of its held-out clips and of the held-out noises."""
    clips = [material.store.clip(index, 0) for _, index in parts]
    sentiment, emotion, speech = logits_of(net, clips)
    noise: list[tuple[str, Any]] = []
    for part, fold in (("validation", recipe.noise_validation), ("test", recipe.noise_test)):
        held_out = material.noises.get(fold, [])
        if held_out:
            noise += [(part, p) for p in logits_of(net, held_out)[2]]
    return FoldPredictions(
        ids=[material.utterances[i].id for _, i in parts],
        parts=[part for part, _ in parts],
        sentiment=sentiment,
        emotion=emotion,
        speech=[np.stack([p, c.speech]) for p, c in zip(speech, clips, strict=True)],
        noise=noise,
    )


def train_folds(recipe: ToneRecipe, material: Material, folder: Path) -> list[FoldPredictions]:
    """Train the folds that have no predictions yet, side by side; then the predictions of all."""
    count = len(material.table.folds)
    missing = [i for i in range(count) if not (fold_folder(folder, i) / "done").exists()]
    report, total = ProgressLines(f"{recipe.name}: folds"), steps_of(recipe) * len(missing)
    if recipe.jobs == 1 or device_of_choice().type == "cuda":
        done = itertools.count(1)
        job = Job(recipe, material, folder, lambda: report(next(done), total))
        for index in missing:
            train_fold(job, index)
    elif missing:
        _side_by_side(recipe, folder, missing, lambda steps: report(steps, total))
    return [read_fold(fold_folder(folder, i)) for i in range(count)]


def _side_by_side(
    recipe: ToneRecipe, folder: Path, missing: Sequence[int], report: Callable[[int], None]
) -> None:
    # Shared memory and the pool must come from one way of starting processes: spawning.
    steps = multiprocessing.get_context("spawn").Value("q", 0)
    with worker_pool(recipe.jobs, _start, (recipe, folder, steps)) as pool:
        waiting = {pool.submit(_train_started, i) for i in missing}
        while waiting:
            finished, waiting = wait(waiting, timeout=1.0)
            for job in finished:
                job.result()
            report(steps.value)


def steps_of(recipe: ToneRecipe) -> int:
    """Steps that a fold takes."""
    if isinstance(recipe, VoiceRecipe):
        stages = (recipe.stages.pretrain, recipe.stages.asr)
        return recipe.steps + sum(stage.steps for stage in stages if stage is not None)
    return recipe.steps * (2 if recipe.init_from and recipe.finetune.scratch else 1)


def train_final(recipe: ToneRecipe, material: Material, folder: Path) -> ToneNet:
    """The network of all speakers, or the one that the run already has."""
    path = folder / FINAL
    if path.exists():
        return read_weights(path)[0]
    report = ProgressLines(f"{recipe.name}: final model")
    everyone: NDArray[np.int64] = np.arange(len(material.utterances))
    seed = recipe.seed * 1000 + 999
    done, total = itertools.count(1), steps_of(recipe)

    def step(_: int, loss: float) -> None:
        if not np.isfinite(loss):
            raise DataError("final model: the loss is no number; lower the learning rate")
        report(next(done), total)

    job = Job(recipe, material, folder, lambda: None)
    net = trained(job, None, everyone, seed, step)
    write_weights(path, net, material.labels.emotions)
    return net
