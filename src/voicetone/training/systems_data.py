"""What systems learn from; every check of it comes before any training."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property

import numpy as np
import torch

from voicetone.corpora.prepared import CORPORA as PREPARED
from voicetone.corpora.registry import CORPORA
from voicetone.errors import DataError
from voicetone.features.extract import extract
from voicetone.features.lengths import stepped
from voicetone.features.sets import FeatureConfig, extractor
from voicetone.models.aae import AaeConfig
from voicetone.training.classifier_data import Material, gather, read_corpus, several
from voicetone.training.classifier_recipe import CorpusChoice, ProtocolChoice
from voicetone.training.leaks import check_names
from voicetone.training.protocol import Fold
from voicetone.training.replica_data import Job, Rows, Scaling, Values
from voicetone.training.replica_fit import Examples
from voicetone.training.sounds import listen
from voicetone.training.systems_recipe import System, SystemFeatures, SystemsRecipe, Target
from voicetone.types import Floats, Utterance


@dataclass(frozen=True)
class _Request:
    name: str
    corpora: tuple[CorpusChoice, ...]
    protocol: ProtocolChoice
    target: str
    rule: str


@dataclass(frozen=True)
class Sources:
    """Utterances with labels, one material per y, and those whose audio alone is used."""

    materials: tuple[Material, ...]
    targets: tuple[Target, ...]
    foreign: tuple[Utterance, ...]
    foreign_hash: str = ""
    """SHA-256 of what is heard in them."""

    @property
    def main(self) -> Material:
        """What the folds are read from; all materials share utterances and folds."""
        return self.materials[0]

    @property
    def utterances(self) -> tuple[Utterance, ...]:
        """All of them, the foreign ones last."""
        return (*self.main.utterances, *self.foreign)


def sources(recipe: SystemsRecipe, targets: Sequence[Target]) -> Sources:
    """Read the corpora of a network with a y for each target.

    Raises:
        DataError: see `gather`; a class that nobody in a fold's training set has; an unlabelled
            corpus with a speaker or a recording of the labelled ones; targets that leave different
            utterances out.
    """
    materials = [
        gather(_Request(recipe.name, recipe.corpora, recipe.protocol, t.target, t.rule))
        for t in targets
    ]
    materials = _in_common(materials) if len(materials) > 1 else materials
    for material in materials:
        for fold in material.table.folds:
            _require_classes(material, fold)
    foreign = [u for choice in recipe.unlabelled for u in read_corpus(choice)]
    foreign_hash = _require_apart(recipe, materials[0], foreign)
    return Sources(tuple(materials), tuple(targets), tuple(foreign), foreign_hash)


def _in_common(materials: Sequence[Material]) -> list[Material]:
    """The materials, if they have the same utterances in the same folds."""
    first = materials[0]
    for other in materials[1:]:
        same = [u.id for u in other.utterances] == [u.id for u in first.utterances]
        if not same or other.table.hash != first.table.hash:
            raise DataError(
                "joint = true needs targets that every utterance has; these leave different ones "
                "out: choose other rules, or joint = false"
            )
    return list(materials)


def _require_classes(material: Material, fold: Fold) -> None:
    seen = set(material.truth[material.rows(fold.train)].tolist())
    lacking = [label for i, label in enumerate(material.labels) if i not in seen]
    if lacking:
        raise DataError(
            f"fold {fold.name}: nobody who trains has the label {', '.join(lacking)}; leave it out "
            "with labels = [...], or choose other folds"
        )


def _require_apart(recipe: SystemsRecipe, material: Material, foreign: Sequence[Utterance]) -> str:
    """That unlabelled audio is of nobody who tests, and of no recording that does; its hash."""
    if not foreign:
        return ""
    speakers = {u.speaker for u in material.utterances if u.speaker is not None}
    for u in foreign:
        if u.speaker in speakers:
            raise DataError(
                f"{u.id}: the unlabelled audio has the speaker {u.speaker} of the labelled "
                "corpora, who tests in some fold; leave that speaker out"
            )
    everyone = [*material.utterances, *foreign]
    twice = [i for i, n in Counter(u.id for u in everyone).items() if n > 1]
    if twice:
        raise DataError(f"{twice[0]}: two corpora have this id; leave one of them out")
    heard = listen(foreign, {})
    labelled: dict[str, list[str]] = {}
    for key, sound in material.heard.items():
        labelled.setdefault(sound.sound, []).append(key)
    for u in foreign:
        for other in labelled.get(heard[u.id].sound, ()):
            if heard[u.id].shares(material.heard[other]):
                raise DataError(
                    f"{u.id}: the same recording as {other}, which has a label and is tested in "
                    "some fold; leave it out of the unlabelled corpora"
                )
    with_foreign = [
        replace(f, train=(*f.train, *(u.id for u in foreign))) for f in material.table.folds
    ]
    check_names(
        replace(material.table, folds=tuple(with_foreign)),
        everyone,
        {*CORPORA, *PREPARED},
        other_people=recipe.protocol.other_people,
    )
    text = json.dumps([[key, astuple(sound)] for key, sound in heard.items()])
    return hashlib.sha256(text.encode()).hexdigest()


def jobs_of(
    found: Sources, system: System, which: Sequence[tuple[int, int]], target: int = 0
) -> list[Job]:
    """The replicas of folds and seeds.

    Args:
        found: the utterances.
        system: says how many labels are used, and whether unlabelled corpora are.
        which: number of fold, and seed.
        target: place of the target among those that are trained together.

    Raises:
        DataError: fewer training utterances than a batch.
    """
    material = found.main
    total = len(material.utterances)
    foreign = np.arange(total, total + len(found.foreign) if system.unlabelled else total)
    out = []
    for index, seed in which:
        fold = material.table.folds[index]
        train = material.rows(fold.train)
        if len(train) < system.batch:
            raise DataError(
                f"fold {fold.name}: {len(train)} training utterances are fewer than a batch of "
                f"{system.batch}; lower batch"
            )
        known = labelled_part(train, material.truth[train], system.labelled, (seed, index))
        hidden = np.setdiff1d(train, known)
        parts = [known, np.concatenate([hidden, foreign])]
        if system.labels_only:  # what it doesn't learn from is still there to normalise with
            parts[1] = hidden
        held, tested = material.rows(fold.validation), material.rows(fold.test)
        draw = seed * 1000 + index
        out.append(Job(index, seed, draw, parts[0], parts[1], held, tested, target))
    return out


def labelled_part(rows: Rows, truth: Rows, share: float, seed: tuple[int, int]) -> Rows:
    """A share of each class's utterances, at least one; the same for every system."""
    if share >= 1:
        return rows
    rng = np.random.default_rng([*seed, 7])
    kept = []
    for label in np.unique(truth):
        of_class = rng.permutation(rows[truth == label])
        kept.append(of_class[: max(1, round(share * len(of_class)))])
    return np.sort(np.concatenate(kept))


def steps_per_epoch(material: Material, batch: int) -> int:
    """So that an epoch passes over the mean fold's training utterances once."""
    return -(-round(float(np.mean([len(f.train) for f in material.table.folds]))) // batch)


def feature_config(choice: SystemFeatures) -> FeatureConfig:
    """What the features are.

    Raises:
        DataError: no such set.
    """
    return FeatureConfig(
        choice.name, "frames" if choice.frames else "functionals", choice.cut_seconds
    )


def require_features_that_can_be(system: System) -> None:
    """Check a system's features before any audio is read.

    Raises:
        DataError: no such set, frames that can't be pooled, or `step` without frames.
        MissingExtraError: openSMILE is not installed.
    """
    choice = system.features
    extractor(feature_config(choice))
    if choice.frames:
        if not getattr(system, "any_frames", False):
            _ = AaeConfig(inputs=1, classes=(2,), frames=choice.frames).pools
    elif choice.step > 1:
        raise DataError(
            f"{system.name}: step = {choice.step} joins frames, and frames = 0 takes functionals; "
            "give frames, or leave step out"
        )


@dataclass(frozen=True)
class Loaded:
    """Features of the utterances of several targets, each utterance once."""

    utterances: tuple[Utterance, ...]
    values: Values

    @cached_property
    def _place(self) -> dict[str, int]:
        return {u.id: i for i, u in enumerate(self.utterances)}

    def examples(self, gathered: Sequence[Sources]) -> Examples:
        """Features and labels for targets whose networks have one shape."""
        classes = tuple(len(m.labels) for m in gathered[0].materials)
        return Examples(self.values, tuple(truth_of(found) for found in gathered), classes)

    def scaling(
        self, gathered: Sequence[Sources], jobs: Sequence[Job], choice: SystemFeatures
    ) -> Scaling:
        """The normalisation of replicas, whose targets are places in `gathered`."""
        return Scaling.of(
            self.values,
            jobs,
            choice.normalise,
            choice.limit,
            [u.speaker for u in self.utterances],
            [u.corpus for u in self.utterances],
            [np.array([self._place[u.id] for u in found.utterances]) for found in gathered],
        )


def load(
    utterances: Sequence[Utterance], choice: SystemFeatures, jobs: int, device: torch.device
) -> Loaded:
    """Features of utterances as a network takes them.

    Raises:
        DataError: recordings that give no features, or features that are no numbers.
    """
    values = required_features(utterances, choice, jobs)
    if choice.frames:
        values = [stepped(v, choice.step) for v in values]
    return Loaded(tuple(utterances), Values(values, choice.frames, device))


def in_any(gathered: Sequence[Sources]) -> tuple[Utterance, ...]:
    """The utterances that any of the targets has."""
    return tuple({u.id: u for found in gathered for u in found.utterances}.values())


def truth_of(found: Sources) -> Rows:
    """Places of the classes of each y `[n, ys]`, -1 for the foreign utterances."""
    truth = np.full((len(found.utterances), len(found.materials)), -1, dtype=np.int64)
    for column, material in zip(truth.T, found.materials, strict=True):
        column[: len(material.truth)] = material.truth
    return truth


def examples(found: Sources, choice: SystemFeatures, jobs: int, device: torch.device) -> Examples:
    """Features and labels of all utterances, for the targets of one network.

    Raises:
        DataError: recordings that give no features, or features that are no numbers.
    """
    return load(found.utterances, choice, jobs, device).examples([found])


def required_features(
    utterances: Sequence[Utterance], choice: SystemFeatures, jobs: int
) -> list[Floats]:
    """Features of all utterances.

    Raises:
        DataError: recordings that give no features, or features that are no numbers.
    """
    features = extract(utterances, feature_config(choice), jobs=jobs or None)
    if features.failures:
        raise DataError(
            f"{len(features.failures)} recordings give no features, mend them or drop their rows: "
            + several(list(features.failures.values()))
        )
    values = [features.values[u.id] for u in utterances]
    broken = [
        u.id for u, v in zip(utterances, values, strict=True) if not bool(np.isfinite(v).all())
    ]
    if broken:
        raise DataError(f"features of {broken[0]} are no numbers: leave its row out")
    return values
