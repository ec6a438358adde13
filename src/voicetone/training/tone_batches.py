"""Batches for the tone model: crops of drawn variants with their targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from voicetone.augment.masking import masked
from voicetone.augment.transpose import transposed
from voicetone.features.spectral import SpectralConfig
from voicetone.models.tone import ToneTargets
from voicetone.training.balance import inverse_frequency, oversampled, undersampled
from voicetone.training.tone_data import ClipStore
from voicetone.training.tone_recipe import ToneRecipe
from voicetone.types import SENTIMENTS, Floats, Utterance

# The mel axis is half linear, so no ratio holds over all of it; a band is about 6 % of frequency
# where formants lie, and a lag of the default pitch map is 5.5 %.
LAGS_PER_BAND = 1.2


@dataclass(frozen=True)
class Labels:
    """Labels of all clips as indices, -1 where unknown; one row per utterance."""

    emotion: NDArray[np.int64]
    sentiment: NDArray[np.int64]
    speaker: NDArray[np.str_]
    corpus: NDArray[np.str_]
    allowed: Floats
    """`[n, emotions]`: 1 for the emotions that the clip's corpus labels."""
    emotions: tuple[str, ...]


def labels_of(utterances: Sequence[Utterance], emotions: tuple[str, ...]) -> Labels:
    """The labels of utterances in a label space."""
    emotion = np.array([emotions.index(u.emotion) if u.emotion else -1 for u in utterances])
    sentiment = np.array([SENTIMENTS.index(u.sentiment) if u.sentiment else -1 for u in utterances])
    corpus = np.array([u.corpus for u in utterances])
    allowed = np.zeros((len(utterances), len(emotions)), dtype=np.float32)
    for name in np.unique(corpus):
        seen = np.unique(emotion[(corpus == name) & (emotion >= 0)])
        allowed[np.ix_(corpus == name, seen)] = 1.0
    speaker = np.array([str(u.speaker) for u in utterances])
    return Labels(emotion, sentiment, speaker, corpus, allowed, emotions)


def balanced(labels: Labels, train: NDArray[np.int64], recipe: ToneRecipe) -> NDArray[np.int64]:
    """The training rows, more or fewer of a class where the recipe wants them equally frequent.

    Equal are the emotions of each corpus, or the sentiments where no clip has an emotion; rows
    without such a label are dropped then.
    """
    if recipe.balance not in ("over", "under"):
        return train
    emotion = labels.emotion[train]
    truth = emotion if (emotion >= 0).any() else labels.sentiment[train]
    draw = oversampled if recipe.balance == "over" else undersampled
    rng = np.random.default_rng([recipe.seed, len(train)])
    return train[draw(truth, rng, groups=labels.corpus[train])]


class Batches:
    """Draws batches of training clips and noise from one generator."""

    def __init__(
        self,
        store: ClipStore,
        labels: Labels,
        train: NDArray[np.int64],
        recipe: ToneRecipe,
        spectral: SpectralConfig,
        fill: Floats,
    ) -> None:
        train = balanced(labels, train, recipe)
        self.store, self.labels, self.train, self.recipe = store, labels, train, recipe
        self.mels, self.fill = spectral.mels, fill
        self.noises = np.arange(len(labels.emotion), len(store.starts))
        self.emotion_weight = self._weights(labels.emotion)
        self.sentiment_weight = self._weights(labels.sentiment)
        shares = {Path(part.name).resolve().name: part.share for part in recipe.corpora}
        corpus = labels.corpus[train]
        self.chance = np.array([shares[c] / (corpus == c).sum() for c in corpus])
        self.chance /= self.chance.sum()
        self.alike: dict[tuple[str, int, int], list[int]] = {}
        for clip in train:
            self.alike.setdefault(self._kind(int(clip)), []).append(int(clip))

    def _kind(self, clip: int) -> tuple[str, int, int]:
        """Speaker, emotion and sentiment: clips of one kind may follow each other."""
        labels = self.labels
        return str(labels.speaker[clip]), int(labels.emotion[clip]), int(labels.sentiment[clip])

    def _weights(self, labels: NDArray[np.int64]) -> Floats:
        """Per clip of the whole store's utterances; zero for those held out."""
        out = np.zeros(len(labels), dtype=np.float32)
        if self.recipe.balance != "weights":
            out[self.train] = labels[self.train] >= 0
            return out
        out[self.train] = inverse_frequency(labels[self.train], self.labels.corpus[self.train])
        return out

    def draw(
        self, rng: np.random.Generator, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor, ToneTargets]:
        """Features `[B, frames, F]`, frame weights `[B, frames / 2]` and targets."""
        noises = round(self.recipe.batch * self.recipe.noise_share) if len(self.noises) else 0
        wanted = self.recipe.batch - noises
        chosen = rng.choice(self.train, wanted, p=self.chance)
        clips = np.concatenate([chosen, rng.choice(self.noises, noises)]).astype(int)
        length = self.recipe.frames
        features = np.tile(self.fill, (len(clips), length, 1))
        weight = np.zeros((len(clips), length // 2), dtype=np.float32)
        speech = np.zeros_like(weight)
        for row, clip in enumerate(clips):
            frames, active = self._crop(int(clip), rng)
            features[row, : len(frames)] = frames
            weight[row, : len(active)] = 1.0
            speech[row, : len(active)] = active
        targets = self._targets(clips, speech, weight, device)
        to = (torch.from_numpy(x).to(device) for x in (features.astype(np.float32), weight))
        return next(to), next(to), targets

    def _targets(
        self, clips: NDArray[np.int64], speech: Floats, weight: Floats, device: torch.device
    ) -> ToneTargets:
        count = len(self.labels.emotion)
        index, real = np.where(clips < count, clips, 0), clips < count
        emotion, sentiment = self.labels.emotion[index], self.labels.sentiment[index]
        arrays = (
            np.maximum(sentiment, 0),
            self.sentiment_weight[index] * real,
            np.maximum(emotion, 0),
            self.emotion_weight[index] * real,
            self.labels.allowed[index],
            speech,
            weight,
        )
        tensors = []
        for array in arrays:
            kind = np.int64 if array.dtype.kind == "i" else np.float32
            tensors.append(torch.from_numpy(array.astype(kind)).to(device))
        return ToneTargets(*tensors)

    def _crop(self, clip: int, rng: np.random.Generator) -> tuple[Floats, NDArray[np.bool_]]:
        features, speech = self._part(clip, rng)
        settings = self.recipe.augmentation
        if clip < len(self.labels.emotion) and rng.random() < settings.join:
            more, more_speech = self._part(int(rng.choice(self.alike[self._kind(clip)])), rng)
            features = np.concatenate([features, more])
            speech = np.concatenate([speech, more_speech])
        length = self.recipe.frames
        if len(features) > length:
            start = 2 * int(rng.integers(0, (len(features) - length) // 2 + 1))
            features = features[start : start + length]
            speech = speech[start // 2 : (start + length) // 2]
        frames = transposed(
            features.astype(np.float32),
            float(rng.uniform(-settings.transpose, settings.transpose)),
            bands=self.mels,
            lags_per_band=LAGS_PER_BAND,
        )
        frames[:, : self.mels] += rng.normal(0.0, settings.level_sd)
        frames = masked(
            frames, rng, bands=self.mels, fill=self.fill, widest_band=settings.widest_band
        )
        return frames, speech

    def _part(
        self, clip: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
        """A drawn variant, cut to its speech with up to 0.75 s before and 0.5 s after."""
        drawn = self.store.clip(clip, int(rng.integers(self.store.starts.shape[1])))
        active = np.flatnonzero(drawn.speech)
        if not len(active):
            return drawn.features, drawn.speech
        start = max(0, int(active[0]) - int(rng.integers(0, 24)))
        end = min(len(drawn.speech), int(active[-1]) + 1 + int(rng.integers(0, 16)))
        return drawn.features[2 * start : 2 * end], drawn.speech[start:end]
