"""The recipe of a classifier on features: support vectors, logistic regression, small networks."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from voicetone.features.normalise import Normalisation
from voicetone.training.protocol import VALIDATION

_STRICT = ConfigDict(extra="forbid")
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Number = Positive | Annotated[tuple[Positive, ...], Field(min_length=1)]


def _different(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("each seed once")
    return seeds


Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1), AfterValidator(_different)
]
"""At least one, each once."""


@dataclass(frozen=True, config=_STRICT)
class CorpusChoice:
    """A corpus and what is taken from it."""

    name: str
    """`emodb`, `ravdess`, `nemo`, a folder with `manifest.csv`, or a manifest (.csv, .parquet)."""
    labels: tuple[str, ...] = ()
    """Take only utterances of these labels; all that have one if empty."""
    emotions: tuple[str, ...] = ()
    """Take only utterances of these emotions, whatever the target is; all if empty."""
    licence: str = ""
    """Of a folder of one's own."""
    side: Literal["both", "train", "test"] = "both"
    """With the protocol `across`: which side it is on."""


@dataclass(frozen=True, config=_STRICT)
class ProtocolChoice:
    """Who trains, validates and tests."""

    name: Literal["speakers", "groups", "sessions", "official", "across", "dependent", "table"]
    """`speakers` leaves one out, `groups` a group of them, `sessions` a session; `official` takes
    the corpus's partitions, `across` trains on some corpora and tests on others, `table` reads
    `file`; `dependent` mixes speakers and is for comparison with such results only."""
    groups: int = 0
    """Number of groups of speakers, or of random folds with `dependent`."""
    validation: int = 1
    """Speakers that validate in each fold (`groups`, `across`)."""
    mutual: bool = True
    """With `sessions`: of the left-out session one speaker tests, the others validate."""
    test: tuple[str, ...] = ("test",)
    """With `official`: the partitions to test on."""
    validate: tuple[str, ...] = VALIDATION
    """With `official`: the partitions that validate; by default those that there are of these
    names, else `evaluation`."""
    shared_speakers: bool = False
    """With `official` and `table`: accept speakers on several sides; every report says so."""
    other_people: bool = False
    """Speakers of one name in different corpora are known to be other people."""
    file: str = ""
    """With `table`: the fold table, as `folds.json` of a run."""


@dataclass(frozen=True, config=_STRICT)
class FeatureChoice:
    """What the classifier hears; see `voicetone.features.sets`."""

    name: str = "ComParE_2016"
    level: Literal["", "functionals", "frames"] = ""
    cut_seconds: Positive | None = None
    """Hear only so many seconds from the start."""
    model: str = ""
    """With `ssl`: the folder of a self-supervised model."""
    layer: int | None = Field(default=None, ge=0)
    """With `ssl`: which hidden state; 0 is before the first layer."""
    normalise: Normalisation = "global"
    """`speaker` uses the unlabelled audio of test speakers."""


@dataclass(frozen=True, config=_STRICT)
class LinearSvm:
    """`sklearn.svm.LinearSVC`. Several values of a setting are tried on held-out speakers."""

    name: Literal["linear-svm"]
    C: Number = 1e-4
    balanced: bool = False
    """Weigh classes inverse to their frequency."""


@dataclass(frozen=True, config=_STRICT)
class RbfSvm:
    """`sklearn.svm.SVC` with its radial kernel."""

    name: Literal["rbf-svm"]
    C: Number = 1.0
    gamma: Number | Literal["auto", "scale"] = "auto"
    """`auto` is one over the number of features."""
    balanced: bool = False


@dataclass(frozen=True, config=_STRICT)
class Logistic:
    """`sklearn.linear_model.LogisticRegression`."""

    name: Literal["logistic"]
    C: Number = 1e-3
    balanced: bool = False


@dataclass(frozen=True, config=_STRICT)
class NetworkChoice:
    """A network of `voicetone.models`: trained with Nadam, best epoch on validation speakers."""

    name: Literal["mlp", "cnn", "lstm"]
    epochs: int = Field(default=100, ge=1)
    """Without validation speakers, the last epoch is kept."""
    batch: int = Field(default=32, ge=1)
    rate: Number = 1e-4
    dropout: Share | Annotated[tuple[Share, ...], Field(min_length=1)] = 0.5
    balanced: bool = False


ModelChoice = Annotated[LinearSvm | RbfSvm | Logistic | NetworkChoice, Field(discriminator="name")]


@dataclass(frozen=True, config=_STRICT)
class Selection:
    """How one of several values of a setting is chosen. The test fold is never looked at."""

    on: Literal["auto", "validation", "inner"] = "auto"
    """Validation speakers, or folds within the training speakers; `auto` takes the former where
    there are any."""
    inner: int = Field(default=3, ge=2)
    """Groups of training speakers, each of which is predicted by the others."""


@dataclass(frozen=True, config=_STRICT)
class ClassifierRecipe:
    """Everything that decides a classifier's predictions."""

    kind: Literal["classifier"]
    name: str
    corpora: tuple[CorpusChoice, ...]
    protocol: ProtocolChoice
    model: ModelChoice
    features: FeatureChoice = field(default_factory=FeatureChoice)
    selection: Selection = field(default_factory=Selection)
    target: Literal["emotion", "sentiment", "label"] = "emotion"
    """`label` is what a manifest's label rule gave."""
    rule: str = ""
    """A label rule (`voicetone corpus list`) whose classes are the target instead."""
    refit: bool = True
    """Once settings are chosen, train on the validation speakers too; networks, whose epoch they
    choose, never do."""
    seeds: Seeds = (0,)
    """Each is a run of its own: of weights, batches and solvers."""
    out: str = ""
    """Run folder; `runs/NAME` if empty."""
    jobs: int = Field(default=0, ge=0)
    """Trainings side by side, each on one core; 0 is one per core."""
