"""The recipe of the front end's pretraining on audio without labels."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from voicetone.training.front_recipe import FrontSizes
from voicetone.training.tone_recipe import Renderings

_STRICT = ConfigDict(extra="forbid")
Share = Annotated[float, Field(ge=0.0, le=1.0)]


@dataclass(frozen=True, config=_STRICT)
class PretrainSettings:
    """How the front end is pretrained; a table of this or of a larger recipe."""

    steps: Annotated[int, Field(ge=1, le=10_000_000)] = 1500
    batch: Annotated[int, Field(ge=1, le=4096)] = 16
    frames: Annotated[int, Field(ge=16, le=8192, multiple_of=2)] = 256
    """Feature frames of a training crop (15.625 ms each)."""
    rate: Annotated[float, Field(gt=0.0, le=1.0)] = 4e-3
    """Peak learning rate of the one-cycle schedule."""
    decay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.01
    """Weight decay (AdamW)."""
    codes: Annotated[int, Field(ge=2, le=65_536)] = 256
    codebooks: Annotated[int, Field(ge=1, le=64)] = 4
    dimension: Annotated[int, Field(ge=1, le=512)] = 16
    """Of the random projection and the codes."""
    pitch: bool = False
    """Whether the codes also hear the pitch map; otherwise the mel bands alone."""
    whiten: Annotated[int, Field(ge=0, le=512)] = 8
    """Principal components of a frame that the projection starts from; 0 projects the normalised
    values themselves, as published."""
    mask_chance: Annotated[float, Field(gt=0.0, le=1.0)] = 0.12
    """Chance of each 31.25 ms frame that a hidden stretch begins there."""
    mask_span: Annotated[int, Field(ge=1, le=256)] = 4
    """Frames of a hidden stretch."""
    noise: Annotated[float, Field(ge=0.0, le=10.0)] = 0.1
    """SD of what takes the place of hidden features, which have SD 1."""
    context: Literal["none", "gru", "conformer"] = "gru"
    """Network between front end and guesses, thrown away afterwards."""
    context_layers: Annotated[int, Field(ge=1, le=12)] = 1
    context_width: Annotated[int, Field(ge=4, le=2048, multiple_of=4)] = 96
    settle: Annotated[int, Field(ge=0, le=100_000)] = 40
    """Batches without masks from which the statistics of batch normalisation are taken at the
    end: those of the training are of audio full of gaps. 0 leaves them."""


@dataclass(frozen=True, config=_STRICT)
class ProbePart:
    """What a linear probe is asked."""

    corpus: str
    """A folder with `manifest.csv`, or the name of one in `VOICETONE_DATA`."""
    asks: Literal["speaker", "emotion", "digit", "sex"]
    """`digit` is what is said: the transcript."""
    emotions: tuple[str, ...] = ()
    """Take only utterances of these emotions; all if empty."""


@dataclass(frozen=True, config=_STRICT)
class PretrainRecipe:
    """Everything that decides what the pretrained front end becomes."""

    kind: Literal["pretrain"]
    name: str
    audio: Annotated[tuple[str, ...], Field(min_length=1)]
    """Folders of recordings, or names of folders in `VOICETONE_DATA`."""
    out: str = ""
    """Run folder; `runs/NAME` if empty."""
    seed: int = 0
    piece: Annotated[float, Field(ge=1.0, le=60.0)] = 8.0
    """Longest piece in seconds; longer recordings are cut into equal pieces."""
    channels: Literal["mixed", "each"] = "mixed"
    """What becomes of several channels: their mean, or a recording each."""
    most_hours: Annotated[float, Field(gt=0.0, le=10_000.0)] = 20.0
    """Of audio with more than that, pieces are drawn: all renderings are held in memory once."""
    validation: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    """Share of the pieces, by speaker or else by recording, that the metrics are taken on."""
    held_out: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of each corpus's speakers whose audio is left out altogether, for the probes."""
    save_every: Annotated[int, Field(ge=1)] = 100
    """Steps between the checkpoints from which a killed run goes on."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """Of PyTorch; 0 leaves it the choice. Another number sums in another order."""
    jobs: Annotated[int, Field(ge=0, le=1024)] = 0
    """Processes that render audio; 0 is one per core."""
    noise_folds: tuple[int, ...] = (1, 2, 3)
    """Folds of the noise corpus that the renderings may hold."""
    front: FrontSizes = field(default_factory=FrontSizes)
    settings: PretrainSettings = field(default_factory=PretrainSettings)
    augmentation: Renderings = field(default_factory=lambda: Renderings(variants=2))
    probes: tuple[ProbePart, ...] = ()
