"""The recipe of voice tone as published: front end, recogniser, and the tone on its encoder."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from voicetone.training.asr_recipe import AsrSettings
from voicetone.training.pretrain_recipe import PretrainSettings
from voicetone.training.tone_recipe import ToneRecipe

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class WordsPart:
    """A corpus of spoken words, for the first two stages.

    It needs no labels. Sentiments that it has, as by `voicetone pseudolabel`, are learnt by the
    recogniser.
    """

    name: str
    """`fsdd`, or a folder with `manifest.csv` that has transcripts. What its column `split` calls
    `test` is never learnt from."""
    folds: Annotated[int, Field(ge=0, le=1000)] = 0
    """Groups of speakers; the first so many folds of the run each hold one group out."""
    licence: str = ""
    """Of a folder of one's own."""


@dataclass(frozen=True, config=_STRICT)
class Withheld:
    """Sentences that the recogniser of a fold does not learn, whoever speaks them."""

    corpus: str
    groups: Annotated[int, Field(ge=2, le=1000)]
    """Fold `i` holds every so many-th sentence out, from the `i`-th on."""


@dataclass(frozen=True, config=_STRICT)
class Stages:
    """What is learnt before the tone. A stage that is not given is left out."""

    pretrain: PretrainSettings | None = None
    """The front end, from audio alone."""
    asr: AsrSettings | None = None
    """The encoder on it, from sentiment and words."""
    words: tuple[WordsPart, ...] = ()
    withheld: tuple[Withheld, ...] = ()
    frozen: bool = True
    """Whether front end and encoder stay as they are while the tone is learnt, as published."""
    beam: Annotated[int, Field(ge=1, le=64)] = 1
    """Hypotheses kept while transcripts of tested clips are looked for."""
    beam_ctc: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Of CTC's prefix score in a hypothesis's score."""


@dataclass(frozen=True, config=_STRICT)
class VoiceRecipe(ToneRecipe):
    """Everything that decides what the voice tone model becomes."""

    stages: Stages = field(default_factory=Stages)
    int8: bool = False
    """Export the encoder in eight bits, its ranges fixed on training clips."""
