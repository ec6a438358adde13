"""The recipe of the tone model."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from voicetone.training.front_recipe import FrontSizes

_STRICT = ConfigDict(extra="forbid")
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]


@dataclass(frozen=True, config=_STRICT)
class CorpusPart:
    """A corpus and how its speakers are folded."""

    name: str
    """`emodb`, `ravdess` or `nemo`, or a folder with `manifest.csv`."""
    folds: int = 0
    """Groups of speakers; the first so many folds of the run each hold one group out."""
    official: bool = False
    """Its own partitions are the one fold: what it calls train, validation and test."""
    side: Literal["both", "train", "test"] = "both"
    """`test` learns nothing from it and makes it a fold of its own; the others then train."""
    licence: str = ""
    """Of a folder of one's own."""
    validation: int = 0
    """Speakers after the held-out group that validate."""
    share: float = 1.0
    """How much of a batch comes from here, against the other corpora's shares."""
    emotions: tuple[str, ...] = ()
    """Take only these emotions; all if empty."""


@dataclass(frozen=True, config=_STRICT)
class Network(FrontSizes):
    """Sizes of the network; see `voicetone.models.tone.ToneConfig`."""

    heads: Annotated[int, Field(ge=1, le=64)] = 4
    """Attention heads of the pooling; they divide the width of the frames."""
    hidden: Annotated[int, Field(ge=1, le=4096)] = 128


@dataclass(frozen=True, config=_STRICT)
class Renderings:
    """Shares of the clips that get each transform; see `voicetone.training.tone_data`."""

    variants: Annotated[int, Field(ge=1, le=1000)] = 10
    """Renderings of each clip; the first is as recorded."""
    pitch: Share = 0.5
    pitch_semitones: Annotated[float, Field(ge=0.0, le=12.0)] = 2.0
    reverb: Share = 0.3
    noise: Share = 0.4
    telephone: Share = 0.25
    room: Share = 0.0
    """Simulated rooms; a measured one is drawn only where this is not."""
    codec: Share = 0.0
    """G.711 or GSM 06.10; drawn only where `telephone` is not."""


@dataclass(frozen=True, config=_STRICT)
class Augmentation(Renderings):
    """Renderings, and what is done to their features whenever one is drawn."""

    transpose: float = 4.0
    """Largest shift of a voice up or down, in mel bands."""
    level_sd: float = 0.4
    """Spread of a random level on the log-mel features, in nepers of power."""
    widest_band: int = 10
    """Mel bands that a spectral mask may cover."""
    join: float = 0.25
    """Share of clips followed by another of the same speaker and emotion."""


@dataclass(frozen=True, config=_STRICT)
class FrozenUntil:
    """Steps after which a part of the encoder begins to learn; the head learns from the first.

    A part whose number is not under the recipe's `steps` stays as it is.
    """

    conformer: Annotated[int, Field(ge=0)] = 50
    """What encodes the front end's frames, in networks that have it."""
    blocks: Annotated[int, Field(ge=0)] = 100
    """The front end's blocks."""
    stem: Annotated[int, Field(ge=0)] = 200
    """The time-frequency convolutions at the bottom."""


@dataclass(frozen=True, config=_STRICT)
class FineTune:
    """How a network that is there already learns; only with `init_from`."""

    head_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-3
    """Peak learning rate of pooling and outputs."""
    rate: Annotated[float, Field(gt=0.0, le=1.0)] = 3e-4
    """Peak learning rate of the encoder's uppermost layer."""
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 0.75
    """A layer's rate, as a share of that of the layer above it."""
    keep_speech: Annotated[float, Field(ge=0.0, le=100.0)] = 1.0
    """Weight of the loss that keeps speech presence what it was, once the encoder learns."""
    scratch: bool = False
    """Train each fold from scratch, too, for comparison; with the recipe's `rate`."""
    frozen_until: FrozenUntil = field(default_factory=FrozenUntil)


@dataclass(frozen=True, config=_STRICT)
class ToneRecipe:
    """Everything that decides what the tone model becomes."""

    kind: Literal["tone", "voice-tone"]
    name: str
    version: str
    corpora: tuple[CorpusPart, ...]
    licence: str = ""
    """Of the weights, as their data allow; needed for the bundle."""
    notice: str = ""
    """One line for users of the bundle, shown when it is used."""
    out: str = ""
    """Run folder; `runs/NAME` if empty."""
    init_from: str = ""
    """An installed bundle, a bundle's folder or a run's folder to start from; from scratch if
    empty. Sizes of the network, its speech classifier and the speech rule come from there."""
    seed: int = 0
    steps: Count = 2000
    batch: Annotated[int, Field(ge=2, le=4096)] = 32
    frames: Annotated[int, Field(ge=16, le=8192, multiple_of=2)] = 208
    """Feature frames of a training crop (15.625 ms each)."""
    rate: float = 2e-3
    """Peak learning rate of the one-cycle schedule."""
    decay: float = 0.05
    """Weight decay (AdamW)."""
    smoothing: float = 0.1
    """Label smoothing."""
    average: float = 0.995
    """Decay of the running average of the weights, which is what is kept."""
    balance: Literal["weights", "over", "under", "none"] = "weights"
    """What is done about classes that are not equally frequent in a corpus: losses weigh inverse
    to their frequency, rare ones are drawn more often, of frequent ones some clips are dropped, or
    nothing."""
    noise_share: float = 0.1
    """Share of a batch that is noise without speech."""
    noise_clips: Count = 300
    """Clips without speech that are rendered, each in all variants."""
    noise_folds: tuple[int, ...] = (1, 2, 3, 4)
    """Folds of the noise corpus for the final model."""
    noise_validation: int = 4
    """Fold of the noise corpus that validates in cross-validation."""
    noise_test: int = 5
    """Fold of the noise corpus that no model hears."""
    speech_steps: Count = 3000
    """Steps of the speech classifier on the frozen encoder."""
    speech_clips: Count = 3000
    """Clips of speech that it hears, each in one drawn variant; noise is heard in all."""
    false_alarms: float = 0.02
    """Highest share of validation noise clips that the speech rule should let through."""
    sentiment_threshold: float = 0.5
    """Least calibrated confidence that gets a label: more likely right than wrong."""
    jobs: Annotated[int, Field(ge=1, le=256)] = 2
    """Folds trained side by side, each on one core; 1 with a GPU."""
    first_folds: Annotated[int, Field(ge=0, le=1000)] = 0
    """Train and score so many folds only, for a comparison that costs too much on all; all if 0."""
    final: bool = True
    """Train on all speakers after the folds and export the bundle."""
    network: Network = field(default_factory=Network)
    augmentation: Augmentation = field(default_factory=Augmentation)
    finetune: FineTune = field(default_factory=FineTune)
