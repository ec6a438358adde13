"""Training of one network of voice and words: numbers and transcripts in, numbers out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from voicetone.models.fusion import Audio, Fusion, Text
from voicetone.models.fusion_text import TextEncoder, Tokens
from voicetone.models.speaker_aware import Scores
from voicetone.training.fusion_recipe import FusionSystem, TextChoice
from voicetone.training.fusion_words import Words, vocabulary
from voicetone.training.replica_data import Rows
from voicetone.training.speaker_fit import Frames, Learner, Outcome, Training, Trial
from voicetone.training.speaker_voices import Knowledge
from voicetone.types import Floats

MISSING = ("words", "voice")
"""What is left out of a fused network, one at a time, when it is tested."""
_AT_ONCE = 64  # transcripts that a fixed encoder reads together


@dataclass(frozen=True)
class FusionTrial(Trial):
    """One network to be trained, and what there is to read."""

    system: FusionSystem
    text: TextChoice
    texts: tuple[str | None, ...]
    """Transcripts of all utterances."""
    column: Rows
    """Places of the classes that a machine gave the words `[n]`, -1 for none."""

    def begin(self, frames: Frames, device: torch.device) -> Learner:
        """Its network, ready to be trained; a column needs none."""
        return Column(self) if self.system.only_labels else FusionTraining(frames, self, device)

    @property
    def known_words(self) -> tuple[str, ...]:
        """Those of the training transcripts; none where a given encoder reads or nobody does."""
        if not self.system.reads or self.text.model:
            return ()
        return vocabulary([self.texts[i] for i in self.job.labelled], self.text.vocabulary)


def small_encoder(choice: TextChoice, known: tuple[str, ...], dropout: float) -> Words:
    """The text encoder that is trained from nothing."""
    return Words(
        known,
        width=choice.width,
        layers=choice.layers,
        heads=choice.heads,
        dropout=dropout,
        limit=choice.limit,
    )


class Together(nn.Module):
    """All that is trained: the fusion with the acoustic network in it, and what reads."""

    def __init__(self, fusion: Fusion, reader: nn.Module | None) -> None:
        super().__init__()
        self.fusion, self.reader = fusion, reader


class FusionTraining(Training):
    """A network of voice and words."""

    trial: FusionTrial

    def network(self) -> nn.Module:
        """The fusion around the acoustic network. A fixed encoder is no part of it."""
        trial, system = self.trial, self.trial.system
        self.without = ""
        """One of `MISSING`, in a test."""
        self.reader: Words | TextEncoder | None = None
        self.fixed: list[Tensor] | None = None
        if system.reads:
            if trial.text.model:
                self.reader = trial.text.encoder().to(self.device)
            else:
                self.reader = small_encoder(trial.text, trial.known_words, system.dropout)
            self.fixed = self._cut(self.reader)
        size = 1 if self.reader is None else self.reader.size
        self.fusion = Fusion(self.acoustic, system.fusion_config(size))
        return Together(self.fusion, self.reader if self.fixed is None else None)

    def _cut(self, reader: Words | TextEncoder) -> list[Tensor] | None:
        """Cut all transcripts once.

        Returns:
            A fixed encoder's vectors `[l, size]`, once a text; `place` says whose they are.
        """
        self.tokens: Tokens = reader.tokens(self.trial.texts)
        if isinstance(reader, Words) or reader.config.trainable:
            return None
        places: dict[str | None, int] = {}
        kept = [places.setdefault(text, len(places)) for text in self.trial.texts]
        self.place = np.array(kept, dtype=np.int64)
        out: list[Tensor] = []
        texts = list(places)
        with torch.no_grad():
            for at in range(0, len(texts), _AT_ONCE):
                part = reader.tokens(texts[at : at + _AT_ONCE]).to(self.device)
                found = reader(part.ids, part.mask)
                lengths = part.mask.sum(1).long().tolist()
                out += [one[:n] for one, n in zip(found, lengths, strict=True)]
        return out

    def groups(self) -> list[dict[str, Any]]:
        """A given encoder that goes on learning has a rate of its own."""
        rate = self.trial.system.rate
        if not (self.trial.text.model and self.trial.text.trainable and self.reader is not None):
            return super().groups()
        return [
            {"params": list(self.fusion.parameters()), "lr": rate},
            {"params": list(self.reader.parameters()), "lr": self.trial.text.rate},
        ]

    def scores(self, rows: Rows, knowledge: Knowledge, *, learning: bool = False) -> Scores:
        """Of utterances `[B]`, less what is missing.

        Args:
            rows: which.
            knowledge: of all utterances' speakers.
            learning: hide stretches, speakers and modalities as training does.
        """
        system = self.trial.system
        hears = system.hears and self.without != "voice"
        reads = system.reads and self.without != "words"
        audio, text = None, None
        if hears:
            x, mask, speaker, known = self.inputs(rows, knowledge, learning)
            audio = Audio(x, mask, torch.ones_like(mask[:, 0]), speaker, known)
        if reads:
            text = self._words(rows)
        if learning and audio is not None and text is not None:
            assert audio.known is not None
            assert text.known is not None
            heard, read = self.fusion.drop(audio.known, text.known, self.generator)
            audio, text = audio._replace(known=heard), text._replace(known=read)
        found: Scores = self.fusion(audio, text)
        return found if system.fused else found._replace(text_share=None)

    def _words(self, rows: Rows) -> Text:
        """The words of utterances, padded to the longest of them."""
        assert self.reader is not None
        mask = self.tokens.mask[rows]
        longest = int(mask.sum(1).max())
        mask = mask[:, :longest].to(self.device)
        known = self.tokens.known[rows].to(self.device)
        if self.fixed is None:
            vectors = self.reader(self.tokens.ids[rows, :longest].to(self.device), mask)
        else:
            vectors = nn.utils.rnn.pad_sequence(
                [self.fixed[i] for i in self.place[rows]], batch_first=True
            )
        return Text(vectors, mask, known)

    def test(self, outcome: Outcome) -> None:
        """Score the test utterances, and again without words, and without voice."""
        super().test(outcome)
        if not self.trial.system.fused:
            return
        for self.without in MISSING:
            found = self.probabilities(self.trial.job.test, self.trial.knowledge)
            outcome.without[self.without] = found
        self.without = ""


class Column:
    """Repeats what a machine said of the words; nothing is trained.

    Where it said nothing, the scores are the classes' shares in training.
    """

    def __init__(self, trial: FusionTrial) -> None:
        self.trial = trial

    def run(self, step: Callable[[], None]) -> Outcome:
        """Nothing to do."""
        del step
        return Outcome()

    def test(self, outcome: Outcome) -> None:
        """One for the class that was said, zero for others."""
        trial = self.trial
        (count,) = trial.config.classes.values()
        shares = np.bincount(trial.truth[trial.job.labelled], minlength=count)
        said = trial.column[trial.job.test]
        scores: Floats = np.eye(count, dtype=np.float32)[np.maximum(said, 0)]
        scores[said < 0] = (shares / shares.sum()).astype(np.float32)
        outcome.scores = scores
