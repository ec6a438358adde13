"""What recipes of several systems share: corpora, protocol, targets, and what a network hears."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from voicetone.features.normalise import Normalisation
from voicetone.training.classifier_recipe import CorpusChoice, ProtocolChoice, Seeds
from voicetone.types import Utterance

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class Target:
    """What y stands for."""

    name: str
    """Part of the folder's name."""
    target: Literal["emotion", "sentiment", "label"] = "emotion"
    rule: str = ""
    """A label rule (`voicetone corpus list`) whose classes are the target instead."""
    seeds: Seeds | None = None
    """Its own; the recipe's if not given."""


@dataclass(frozen=True, config=_STRICT)
class SystemFeatures:
    """What a network hears."""

    name: str = "ComParE_2016"
    frames: int = Field(default=0, ge=0)
    """Length of a frame-level input, 4 times a product of four factors up to 4; 0 takes
    functionals. Shorter utterances are followed by zeros, of longer ones the middle is heard."""
    step: int = Field(default=1, ge=1)
    """Frame level: so many frames of 10 ms become one, their mean."""
    cut_seconds: float | None = None
    """Hear only so many seconds from the start."""
    normalise: Normalisation = "global"
    """`speaker` uses the unlabelled audio of test speakers."""
    limit: float = Field(default=10.0, gt=0)
    """Normalised values beyond so many SDs are cut to it: functionals have outliers, and a
    stranger's can lie thousands of SDs off."""


class System(Protocol):
    """One network, or another way to codes, and how it is trained."""

    @property
    def name(self) -> str:
        """Part of the folder's name."""

    @property
    def features(self) -> SystemFeatures:
        """What it hears."""

    @property
    def batch(self) -> int:
        """Utterances per step."""

    @property
    def labelled(self) -> float:
        """Share of the training utterances whose labels are used."""

    @property
    def unlabelled(self) -> bool:
        """Whether it learns from the recipe's unlabelled corpora."""

    @property
    def labels_only(self) -> bool:
        """Whether it has no use for utterances without a label."""


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class SystemsRecipe:
    """Every system on every target: one folder with a run for each, and their table."""

    kind: str
    name: str
    corpora: tuple[CorpusChoice, ...]
    protocol: ProtocolChoice
    systems: tuple[Any, ...] = Field(min_length=1)
    targets: tuple[Target, ...] = Field(default=(Target("emotion"),), min_length=1)
    joint: bool = False
    unlabelled: tuple[CorpusChoice, ...] = ()
    """Corpora whose audio alone is used, by systems that say `unlabelled = true`."""
    seeds: Seeds = (0,)
    checkpoints: Literal["none", "first", "all"] = "first"
    """Whose weights are kept: of the first seed's folds, of all, or of none."""
    out: str = ""
    """Run folder; `runs/NAME` if empty."""
    at_once: int = Field(default=40, ge=1)
    """Replicas (targets, folds and seeds) that are trained as one program."""
    jobs: int = 0
    """Threads; 0 is one per core."""

    def seeds_of(self, target: Target) -> tuple[int, ...]:
        """The seeds of a target. Those of a joint network are the recipe's."""
        return self.seeds if target.seeds is None or self.joint else target.seeds

    def decides(self, system: Any) -> dict[str, Any]:
        """Settings of the recipe beyond the common ones that a system's predictions depend on."""
        del system
        return {}

    def reads(self, system: Any, utterances: Sequence[Utterance]) -> dict[str, Any]:
        """What of the utterances, beyond labels and sound, a system's predictions depend on."""
        del system, utterances
        return {}
