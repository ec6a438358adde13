"""A run of voice, words, and both: folds and seeds of a system side by side, in processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from voicetone.corpora.provenance import source_of
from voicetone.errors import DataError
from voicetone.models.fusion import Fusion
from voicetone.models.speaker_aware import SpeakerAware
from voicetone.training.fusion_checkpoint import write_fusion_checkpoint
from voicetone.training.fusion_fit import MISSING, FusionTrial
from voicetone.training.fusion_recipe import (
    FusionRecipe,
    FusionSystem,
    of_column,
    require_column,
)
from voicetone.training.fusion_words import words_of
from voicetone.training.replica_data import Job
from voicetone.training.runs import RunFolder
from voicetone.training.speaker_fit import Outcome, Trial
from voicetone.training.speaker_recipe import SpeakerRecipe, SpeakerSystem
from voicetone.training.speaker_run import (
    SpeakerMethod,
    mean_uar,
    state_of,
    tables_of,
    trial_of,
    without_name,
    words,
)
from voicetone.training.systems_data import Sources
from voicetone.training.systems_recipe import SystemsRecipe
from voicetone.training.systems_run import Work, run_systems
from voicetone.types import Utterance


def run_fusion(recipe: FusionRecipe) -> Path:
    """Train and score every system on every target; see `run_systems`.

    Raises:
        DataError: as `run_systems`; words that are to be read and are nowhere, a text encoder that
            is none, a speaker that has to be known and is not.
    """
    return run_systems(recipe, FusionMethod(recipe))


class FusionMethod(SpeakerMethod):
    """See `voicetone.training.systems_run.Method`."""

    recipe: FusionRecipe

    def __init__(self, recipe: FusionRecipe) -> None:
        super().__init__(recipe)
        self.cautions: dict[tuple[str, str], list[str]] = {}
        """What is to be known of the words that a system reads, by run and system."""
        self.size = 0
        """Of a given text encoder's vectors."""

    def require(self, recipe: SpeakerRecipe, found: Sources, system: SpeakerSystem) -> None:
        """As for a network that hears, and words where they are read.

        Raises:
            DataError: none of these.
        """
        assert isinstance(system, FusionSystem)
        super().require(recipe, found, system)
        require_column(system)
        if not system.hears and (system.takes_speaker or system.integration != "none"):
            raise DataError(
                f"{system.name}: integration = {system.integration!r} is for networks that hear, "
                f"and fusion = {system.fusion!r} does not: leave it out"
            )
        utterances = found.main.utterances
        cautions: list[str] = []
        if system.reads:
            cautions = require_words(found, system)
            self._require_sizes(found, system)
        elif system.only_labels:
            cautions = require_labels(utterances, system, found.main.labels)
        for target in found.targets:
            self.cautions[(target.name, system.name)] = cautions

    def _require_sizes(self, found: Sources, system: FusionSystem) -> None:
        """That text encoder and network can be made."""
        choice = self.recipe.text
        if choice.model and not self.size:
            self.size = choice.encoder().size
        if not choice.model and (choice.width % 2 or choice.width % choice.heads):
            raise DataError(
                f"text.width = {choice.width} can't be split into {choice.heads} heads: choose "
                "others"
            )
        speakers = len({u.speaker for u in found.main.utterances})
        config = system.config(1, "y", 2, 1, max(speakers, 2))
        with torch.random.fork_rng(devices=[]):
            Fusion(SpeakerAware(config), system.fusion_config(self.size or choice.width))

    def words(self, system: SpeakerSystem) -> str:
        """As in `gated (fusion=gated; words: ...; integration=none; ...)`."""
        assert isinstance(system, FusionSystem)
        if system.only_labels:
            return f"{system.name} (fusion=text-label; column {system.column})"
        said = [f"fusion={system.fusion}"]
        if system.reads:
            choice = self.recipe.text
            given = f"{Path(choice.model).name}{', trained further' * choice.trainable}"
            said.append(f"words: {given if choice.model else 'learnt from the training fold'}")
        if system.fused:
            said.append(f"hidden: voice {system.drop_audio:g}, words {system.drop_text:g}")
        name, _, rest = words(self.recipe, system).partition(" (")
        return f"{name} ({'; '.join(said)}; {rest}"

    def selection(self, system: SpeakerSystem) -> str:
        """Who chose the epoch."""
        return "none: nothing is trained" if system.only_labels else super().selection(system)

    def trial(self, work: Work, job: Job) -> FusionTrial:
        """All that one training needs."""
        base = trial_of(work, job, self.enroller)
        material = work.part(job).found.main
        labels = {label: place for place, label in enumerate(material.labels)}
        column = work.system.column
        said = [of_column(u, column) if column else None for u in material.utterances]
        told = {f.name: getattr(base, f.name) for f in fields(base)}
        return FusionTrial(
            **told,
            text=self.recipe.text,
            texts=tuple(u.transcript for u in material.utterances),
            column=np.array([-1 if s is None else labels[s] for s in said], dtype=np.int64),
        )

    def checkpoint(self, work: Work, trial: Trial, outcome: Outcome) -> None:
        """Write the weights, if there are any."""
        assert isinstance(trial, FusionTrial)
        system, job, choice = trial.system, trial.job, trial.text
        if system.only_labels:
            return
        size = (self.size if choice.model else choice.width) if system.reads else 1
        write_fusion_checkpoint(
            work.file(job, "checkpoints", "safetensors"),
            state_of(work, trial, outcome),
            config=trial.config,
            fusion=system.fusion_config(size),
            text=choice if system.reads else None,
            digest=str(choice.decisive().get("sha256", "")) if system.reads else "",
            words=trial.known_words,
            hears=system.hears,
            labels=work.part(job).found.main.labels,
            features=system.features,
            encoder=self.enroller.encoder.id if system.needs_encoder else "",
            fold=work.fold(job),
            seed=job.seed,
        )

    def convergence(
        self, recipe: SystemsRecipe, system: SpeakerSystem, folder: RunFolder
    ) -> dict[str, Any]:
        """Also what each modality is worth, and what is to be known of the words."""
        assert isinstance(system, FusionSystem)
        found = super().convergence(recipe, system, folder)
        target = folder.path.parent.name
        found["cautions"] = [*self.cautions[(target, system.name)], *found["cautions"]]
        without = []
        for missing in MISSING if system.fused else ():
            if tables := tables_of(folder, without_name(missing), recipe.seeds):
                without.append({"missing": missing, "uar": mean_uar(tables)})
        return found | ({"without": without} if without else {})

    def baseline(self, recipe: SpeakerRecipe, system: SpeakerSystem) -> SpeakerSystem | None:
        """See `baseline_of`."""
        assert isinstance(recipe, FusionRecipe)
        assert isinstance(system, FusionSystem)
        return baseline_of(recipe, system)


def baseline_of(recipe: FusionRecipe, system: FusionSystem) -> FusionSystem | None:
    """What a system is to be better than: the voice alone, heard in the same way.

    A system that knows the speaker is compared with the voice of a known speaker where there is
    such a row.
    """
    if system.fusion == "acoustic":
        return None
    alone = [s for s in recipe.systems if s.fusion == "acoustic" and s.features == system.features]
    same = [
        s
        for s in alone
        if (s.integration, s.control, s.places)
        == (system.integration, system.control, system.places)
    ]
    return next(iter((*same, *alone)), None)


def require_words(found: Sources, system: FusionSystem) -> list[str]:
    """That there are words to read, and to learn from; what is to be known of them.

    Raises:
        DataError: no transcript, or none in a fold's training set.
    """
    utterances = found.main.utterances
    there = {u.id for u in utterances if words_of(u.transcript or "")}
    if not there:
        raise DataError(
            f"{system.name}: fusion = {system.fusion!r} reads words, and none of the "
            f"{len(utterances)} utterances has a transcript: fill the column transcript in "
            '(voicetone pseudolabel does), or take fusion = "acoustic"'
        )
    for fold in found.main.table.folds:
        if not there.intersection(fold.train):
            raise DataError(
                f"{system.name}: fusion = {system.fusion!r} reads words, and nobody who trains in "
                f"the fold {fold.name} has a transcript: choose other folds, or fill the column "
                "transcript in"
            )
    out = []
    if lacking := len(utterances) - len(there):
        instead = "are heard by voice alone" if system.fused else "have all classes alike"
        out.append(f"{lacking} of {len(utterances)} utterances have no transcript and {instead}")
    machines = [s for u in utterances if u.id in there and (s := source_of(u, "transcript"))]
    if machines:
        names = ", ".join(sorted(set(machines))[:3])
        out.append(f"{len(machines)} of {len(there)} transcripts are from a machine ({names})")
    return out


def require_labels(
    utterances: Sequence[Utterance], system: FusionSystem, labels: Sequence[str]
) -> list[str]:
    """That a column says classes; what is to be known of it.

    Raises:
        DataError: the column is nowhere, or says something else.
    """
    said = {u.id: value for u in utterances if (value := of_column(u, system.column))}
    if not said:
        raise DataError(
            f"{system.name}: no utterance has a column {system.column} that a machine filled: "
            "name another, or make it with voicetone pseudolabel"
        )
    for key, value in said.items():
        if value not in labels:
            raise DataError(
                f"{system.name}: {system.column} of {key} says {value[:40]!r}, which is none of "
                f"the classes {', '.join(labels)}: choose the target that it is about"
            )
    if lacking := len(utterances) - len(said):
        return [
            f"{lacking} of {len(utterances)} utterances have nothing in {system.column} and get "
            "the classes' shares in training"
        ]
    return []
