"""The run of a pretraining: folders of audio in, `front.safetensors`, metrics and a report out."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from voicetone.corpora.prepared import data_root
from voicetone.features.spectral import SpectralConfig
from voicetone.features.workers import ProgressLines, cores
from voicetone.models.front import Front
from voicetone.training.device import device_of_choice
from voicetone.training.front_recipe import front_config
from voicetone.training.pretrain_audio import Audio, Split, gather_audio, split
from voicetone.training.pretrain_fit import new_network, pretrain, settle
from voicetone.training.pretrain_probes import learnt_from, probe
from voicetone.training.pretrain_recipe import PretrainRecipe
from voicetone.training.pretrain_report import report_text
from voicetone.training.pretrain_state import load_front, save_front
from voicetone.training.protocol import Fold, FoldTable
from voicetone.training.runs import RunFolder
from voicetone.training.tone_data import ClipStore, augment_config, build
from voicetone.training.written import as_json
from voicetone.types import Utterance

_TOLD = 20  # lines about recordings that are left out; the others are counted


def run_pretrain(recipe: PretrainRecipe) -> Path:
    """Pretrain a front end on the recipe's audio, or go on where the run stopped.

    Returns:
        The run's folder, with `front.safetensors`, `metrics.json` and `report.md`.

    Raises:
        DataError: no audio that can be used, a folder of another run, or a diverged training.
    """
    audio = gather_audio(
        recipe.audio,
        piece=recipe.piece,
        channels=recipe.channels,
        most_hours=recipe.most_hours,
        seed=recipe.seed,
    )
    parts = split(audio.pieces, recipe.validation, recipe.held_out, recipe.seed)
    folder = _folder(recipe, parts)
    device = device_of_choice()
    folder.start(("torch", "scikit-learn"), device=str(device))
    _tell(folder, audio, parts)
    place = {u.id: i for i, u in enumerate(audio.pieces)}
    # What is held out is not even rendered.
    used = [u for u in audio.pieces if u.id not in set(parts.held_out)]
    store = _render(recipe, used)
    rows = {u.id: i for i, u in enumerate(used)}
    train = np.array([rows[key] for key in parts.train], dtype=np.int64)
    validation = np.array([rows[key] for key in parts.validation], dtype=np.int64)
    front, metrics = _trained(recipe, folder, store, train, validation, device)
    metrics["audio"] = {
        "pieces": len(audio.pieces),
        "hours": sum(audio.seconds) / 3600,
        "train_hours": sum(audio.seconds[place[key]] for key in parts.train) / 3600,
        "left_out": len(audio.cautions),
    }
    _probe(recipe, folder, [used[i] for i in train], store, train, front, metrics)
    folder.write("metrics.json", as_json(metrics))
    folder.write("report.md", report_text(recipe, metrics))
    (folder.path / "checkpoints" / "pretraining.safetensors").unlink(missing_ok=True)
    masked = metrics["masked"]
    folder.log(
        f"hidden frames named right: {masked['accuracy']:.3f}; most frequent code: "
        f"{masked['most_frequent']:.3f}; last code again: {masked['repeat_last']:.3f}"
    )
    return folder.path


def _folder(recipe: PretrainRecipe, parts: Split) -> RunFolder:
    resolved = asdict(recipe)
    for key in ("probes", "save_every"):  # they change nothing of what is learnt
        resolved.pop(key)
    fold = Fold("pretraining", parts.train, parts.validation, parts.held_out)
    table = FoldTable("pretraining", (fold,))
    return RunFolder(Path(recipe.out or f"runs/{recipe.name}"), resolved, table)


def _tell(folder: RunFolder, audio: Audio, parts: Split) -> None:
    """What is learnt from and what is not, in the log."""
    for line in audio.cautions[:_TOLD]:
        folder.log(line)
    if len(audio.cautions) > _TOLD:
        folder.log(f"and {len(audio.cautions) - _TOLD} more lines like these")
    folder.log(
        f"{len(audio.pieces)} pieces, {sum(audio.seconds) / 3600:.2f} h: {len(parts.train)} to "
        f"learn from, {len(parts.validation)} to be judged on, {len(parts.held_out)} held out"
    )


def _cache() -> Path:
    return Path(os.environ.get("VOICETONE_CACHE", ".cache")) / "tone"


def _render(recipe: PretrainRecipe, pieces: Sequence[Utterance]) -> ClipStore:
    """The pieces in all variants."""
    wanted = recipe.augmentation
    augment = augment_config(wanted, recipe.noise_folds)
    return build(
        pieces,
        0,
        wanted.variants,
        recipe.seed,
        augment,
        SpectralConfig(),
        _cache(),
        root=data_root(),
        workers=recipe.jobs or cores(),
        progress=ProgressLines("rendering audio"),
    )


def _trained(
    recipe: PretrainRecipe,
    folder: RunFolder,
    store: ClipStore,
    train: np.ndarray[Any, np.dtype[np.int64]],
    validation: np.ndarray[Any, np.dtype[np.int64]],
    device: torch.device,
) -> tuple[Front, dict[str, Any]]:
    """The front end and its metrics, trained or as the run has them already."""
    weights, facts = folder.path / "front.safetensors", folder.path / "training.json"
    if weights.exists() and facts.exists():
        folder.log("front end already trained; only what follows is made again")
        metrics: dict[str, Any] = json.loads(facts.read_text(encoding="utf-8"))
        return load_front(weights), metrics
    report = ProgressLines(f"{recipe.name}: pretraining")
    steps = recipe.settings.steps
    threads = torch.get_num_threads()
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    try:
        front, metrics = pretrain(
            front_config(recipe.front, SpectralConfig()),
            recipe.settings,
            store,
            train,
            validation,
            recipe.seed,
            lambda step, _: report(step, steps),
            device,
            state=folder.path / "checkpoints" / "pretraining.safetensors",
            save_every=recipe.save_every,
        )
    finally:
        torch.set_num_threads(threads)
    save_front(front, weights)
    folder.write("training.json", as_json(metrics))
    return front, metrics


def _probe(
    recipe: PretrainRecipe,
    folder: RunFolder,
    learnt: Sequence[Utterance],
    store: ClipStore,
    train: np.ndarray[Any, np.dtype[np.int64]],
    front: Front,
    metrics: dict[str, Any],
) -> None:
    """Put the probes' answers into the metrics."""
    metrics["probes"] = []
    if not recipe.probes:
        return
    spectral = SpectralConfig()
    config = front_config(recipe.front, spectral)
    with torch.random.fork_rng(devices=[]):
        untrained = new_network(config, recipe.settings, store, train, recipe.seed).front.eval()
    settle(untrained, recipe.settings, store, train, recipe.seed)
    fronts = {"pretrained": front, "untrained": untrained}
    found, cautions = probe(
        recipe.probes, fronts, learnt_from(learnt), spectral, _cache(), recipe.seed, recipe.jobs
    )
    for line in cautions:
        folder.log(line)
    metrics["probes"], metrics["cautions"] = found, cautions
