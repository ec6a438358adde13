"""A trained run of speaker-aware transformers, read back: data as they were, and what they say."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter

from voicetone.errors import DataError
from voicetone.evaluation.table import read_predictions
from voicetone.features.dvector import DVector
from voicetone.features.lengths import fitted, stepped
from voicetone.features.normalise import group_statistics, statistics
from voicetone.features.speaker import StatisticsEncoder
from voicetone.training.replica_data import Job, Rows
from voicetone.training.speaker_checkpoint import SpeakerCheckpoint, read_speaker_checkpoint
from voicetone.training.speaker_recipe import SpeakerChoice, SpeakerRecipe, SpeakerSystem
from voicetone.training.speaker_voices import Enroller, Knowledge
from voicetone.training.systems_data import jobs_of, required_features
from voicetone.training.systems_recipe import SystemFeatures
from voicetone.training.systems_trained import OpenedRun, TrainedNetwork, changed, open_folder
from voicetone.types import Floats

_AT_ONCE = 64
_SAME = 0.01  # probabilities further apart than this are not rounding

SpeakerNetwork = TrainedNetwork[SpeakerCheckpoint]
SpeakerRun = OpenedRun[SpeakerRecipe, SpeakerCheckpoint]


@dataclass(frozen=True)
class Heard:
    """What one network hears of every utterance of its run."""

    values: list[Floats]
    """Features as extracted `[t, values]` each."""
    group: Rows
    """Of utterances with one normalisation `[n]`; -1 is the last."""
    mean: Floats
    """`[groups + 1, values]`; the last is the training set's."""
    scale: Floats
    knowledge: Knowledge
    """Of each utterance's speaker."""
    job: Job

    def voices(self, kind: str, row: int) -> Floats | None:
        """What a bundle is told of an utterance's speaker, None where unknown.

        Args:
            kind: `nothing`, `voice` or `frames`.
            row: the utterance.
        """
        if kind == "frames":
            group = self.group[row]
            return np.concatenate([self.mean[group], self.scale[group]])
        if kind == "nothing" or not self.knowledge.known[row]:
            return None
        return np.asarray(self.knowledge.embedding[row])


def open_speaker_run(
    path: Path, *, fold: str = "", seed: int | None = None, data: Sequence[Path] = ()
) -> SpeakerRun:
    """Read a run back and make sure that its data are still what it learnt from.

    Raises:
        UsageError, DataError: see `open_folder`.
    """
    return open_folder(
        path,
        SpeakerRecipe,
        "speaker-aware",
        read_speaker_checkpoint,
        fold=fold,
        seed=seed,
        data=data,
    )


def choice_of(settings: dict[str, Any], network: Path | None) -> SpeakerChoice:
    """Where a run's embeddings come from.

    Args:
        settings: of `recipe.json`.
        network: where the network of the encoder `onnx` lies, if not where the run found it.

    Raises:
        DataError: an encoder that is gone, or has changed.
    """
    told = dict(settings.get("speaker", {}))
    kept = {key: told[key] for key in ("enrolment", "curve") if key in told}
    named = {StatisticsEncoder.id: "statistics", DVector.id: "dvector", "onnx": "onnx"}
    encoder = named.get(told.get("encoder", StatisticsEncoder.id))
    if encoder is None:
        raise DataError(
            f"{settings['name']}: its embeddings are of {told['encoder']}, which this voicetone "
            "does not compute: train again"
        )
    digest = told.pop("sha256", "")
    if encoder != "onnx":
        return TypeAdapter(SpeakerChoice).validate_python({**kept, "encoder": encoder})
    path = network or Path(told["path"])
    if not path.is_file():
        raise DataError(
            f"{path}: the run's network of voices is not there: say where it lies with "
            "--speaker-network"
        )
    if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise DataError(
            f"{path}: not the network of voices that the run was trained with: name that one with "
            "--speaker-network"
        )
    return TypeAdapter(SpeakerChoice).validate_python({**told, "path": str(path)})


def heard(run: OpenedRun[Any, Any], network: TrainedNetwork[Any], enroller: Enroller) -> Heard:
    """What a network hears of all utterances, speakers included, as in its training.

    Raises:
        DataError: a recording without features; an encoder that is not the network's.
    """
    checkpoint, material = network.checkpoint, run.material
    system: SpeakerSystem = run.recipe.systems[0]
    if system.needs_encoder and enroller.encoder.id != checkpoint.encoder:
        raise DataError(
            f"{network.path}: trained with voices of {checkpoint.encoder}, and here are those of "
            f"{enroller.encoder.id}: train again"
        )
    place = material.table.folds.index(network.fold)
    (job,) = jobs_of(run.found, system, [(place, run.seed)])
    values = required_features(material.utterances, checkpoint.features, 0)
    frames = [stepped(v, checkpoint.features.step) for v in values]
    group, _, _ = group_statistics(
        frames,
        np.ones(len(frames), dtype=bool),
        checkpoint.features.normalise,
        speakers=[u.speaker for u in material.utterances],
        corpora=[u.corpus for u in material.utterances],
    )
    general = statistics([frames[i] for i in job.labelled])
    mean, scale = (
        np.concatenate([kept.numpy(), whole[None]]).astype(np.float32)
        for kept, whole in zip((checkpoint.mean, checkpoint.scale), general, strict=True)
    )
    knowledge = enroller.knowledge(system, material.utterances, job)
    return Heard(values, group, mean, scale, knowledge, job)


@torch.no_grad()
def scores_of(checkpoint: SpeakerCheckpoint, data: Heard, *, known: bool = True) -> Floats:
    """Probabilities of all utterances `[n, classes]`.

    Args:
        checkpoint: the network.
        data: what it hears.
        known: whether it is told of the speakers; else embeddings are unknown, and features
            normalised per speaker are so with the training set's statistics.
    """
    choice = checkpoint.features
    speakers = choice.normalise == "speaker"
    group = data.group if known or not speakers else np.full_like(data.group, -1)
    told = data.knowledge
    if not known or not checkpoint.config.takes_speaker:
        told = Knowledge.nothing(len(group), max(checkpoint.config.speaker, 1))
    elif told.embedding.shape[1] != checkpoint.config.speaker:  # control = zero knows nobody
        told = Knowledge.nothing(len(group), checkpoint.config.speaker)
    parts = []
    for at in range(0, len(group), _AT_ONCE):
        rows = range(at, min(at + _AT_ONCE, len(group)))
        pairs = [normalised(data, int(group[i]), i, choice) for i in rows]
        x, mask = (torch.from_numpy(np.stack([pair[k] for pair in pairs])) for k in (0, 1))
        voice = torch.from_numpy(told.embedding[at : at + _AT_ONCE])
        there = torch.from_numpy(told.known[at : at + _AT_ONCE])
        (logits,) = checkpoint.net(x, mask, voice, there).logits.values()
        parts.append(torch.softmax(logits.double(), dim=1))
    return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)


def normalised(data: Heard, group: int, row: int, choice: SystemFeatures) -> tuple[Floats, Floats]:
    """An utterance `[frames, values]` and its mask, as the network hears it."""
    wide = stepped(data.values[row], choice.step).astype(np.float64)
    wide = (wide - data.mean[group]) / data.scale[group]
    cut = np.clip(wide, -choice.limit, choice.limit).astype(np.float32)
    return fitted(cut, choice.frames)


def require_predicted(
    run: OpenedRun[Any, Any], network: TrainedNetwork[Any], scores: Floats
) -> None:
    """Make sure that a network says what its run's predictions say.

    Args:
        run: the run.
        network: of one fold.
        scores: of all utterances.

    Raises:
        DataError: other utterances, labels or probabilities; no predictions at all.
    """
    path, material = run.folder.predictions_path(network.fold.name, run.seed), run.material
    if not (path.is_file() and (run.path / "metrics.json").is_file()):
        raise DataError(
            f"{run.path}: predictions or metrics.json are missing: the run diverged, or stopped "
            "before its end; train it to its end, then export it"
        )
    table = read_predictions(path)
    rows = material.rows(table.id.tolist())
    truth = [material.labels[i] for i in material.truth[rows]]
    if table.labels != material.labels or truth != table.truth.tolist():
        raise changed(run.path)
    apart = float(np.abs(scores[rows] - table.scores).max())
    if not apart <= _SAME:
        raise DataError(
            f"{path}: the weights give other probabilities now, by up to {apart:.2f}; the audio, "
            "openSMILE or the encoder of voices has changed since: train again"
        )
