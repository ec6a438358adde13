"""The settings of the recogniser with a token of sentiment."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

_STRICT = ConfigDict(extra="forbid")

Share = Annotated[float, Field(ge=0, le=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Size = Annotated[int, Field(ge=1, le=4096)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Weight = Annotated[float, Field(ge=0, lt=1e6)]


@dataclass(frozen=True, config=_STRICT)
class AsrSettings:
    """Everything that decides what the recogniser becomes."""

    languages: tuple[str, ...] = ()
    """Take only transcripts of these languages; of any if empty."""
    tokens: Literal["characters", "subwords"] = "characters"
    subwords: Size = 500
    """Tokens of a vocabulary of sub-words."""
    width: Size = 96
    """Of the encoder's frames."""
    layers: Size = 3
    """Of the encoder."""
    heads: Size = 4
    expand: Size = 2
    kernel: Annotated[int, Field(ge=2, le=255)] = 15
    """Frames that a convolution of the encoder hears, 31.25 ms each."""
    past: Size = 64
    """Frames before its own that a frame of the encoder attends to; 64 are 2 s."""
    dropout: Dropout = 0.1
    decoder_width: Size = 96
    decoder_layers: Size = 1
    decoder_heads: Size = 4
    ctc_share: Share = 0.3
    """Of CTC in the loss; the rest is that of label and words by the attention decoder."""
    sentiment_weight: Weight = 1.0
    """Of the sentiment's token in the loss, against one token of text."""
    smoothing: Dropout = 0.1
    """Of the labels of the attention decoder."""
    train_front: bool = False
    """Whether the front end learns, too; as published it is fixed."""
    steps: Count = 1000
    batch: Annotated[int, Field(ge=1, le=1024)] = 32
    pool: Annotated[int, Field(ge=1, le=64)] = 8
    """Batches drawn together and then cut by length, which saves padding."""
    rate: Annotated[float, Field(gt=0, le=1)] = 2e-3
    """Highest learning rate."""
    decay: Weight = 0.01
    """Of the weights, by AdamW."""
    average: Share = 0.99
    """Of the running average of the weights, which is what is kept; 0 keeps the last."""
    checks: Annotated[int, Field(ge=0, le=100)] = 3
    """How often the loss of the validation clips is taken over the last half of training; the
    weights where it was lowest are kept. 0: the last ones."""
    balance: Literal["sentiment", "none"] = "sentiment"
    """Sentiments drawn equally often, as published, or clips."""
    unknown_share: Share = 0.3
    """Of clips without a sentiment in a batch, where there are any and sentiments are balanced."""
    hidden: Share = 0.2
    """Of clips whose words are learnt after `<unknown>` although their sentiment is known, so that
    words can be found without it."""
    guessed: Share = 0.3
    """Of clips without a sentiment whose words are learnt after a drawn one: at decoding the
    network names one for every clip."""
    weights: dict[str, Weight] = field(default_factory=dict)
    """How often a clip of a corpus is drawn against those of others; 1 for those not named."""
    margin: Annotated[float, Field(le=60.0)] = 0.3
    """Seconds kept before and after a clip's speech at least, up to thrice that drawn; below 0 the
    whole clip is taken."""
    level_sd: Weight = 0.4
    """Spread of a random level on the log-mel features, in nepers of power."""
    transpose: Annotated[float, Field(ge=0, le=16.0)] = 2.0
    """Largest shift of a voice up or down, in mel bands."""
    widest_band: Annotated[int, Field(ge=0, le=64)] = 10
    """Mel bands that a spectral mask may cover."""
    longest_mask: Annotated[int, Field(ge=0, le=256)] = 12
    """Feature frames that a spectral mask may cover, 15.625 ms each; a quarter of a clip at
    most."""
    masks: Annotated[int, Field(ge=0, le=16)] = 2
    """Spectral masks of each kind on a clip."""
    longest: Annotated[float, Field(gt=0, le=120.0)] = 30.0
    """Seconds; longer clips are left out, for a transcript's audio is never cut."""
