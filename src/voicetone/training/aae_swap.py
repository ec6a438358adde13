"""Reconstructions with y swapped: what the decoder makes of one utterance as every class."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voicetone.features.sets import extractor
from voicetone.models.aae import Aae, AaeConfig
from voicetone.training.aae_trained import Codes, inputs
from voicetone.training.replica_checkpoint import Checkpoint
from voicetone.training.replica_data import Rows, Scaling, Values
from voicetone.training.replica_fit import Examples
from voicetone.training.systems_data import feature_config

_PART = 256  # utterances at a time
_MOST = 10  # features named for each pair of classes
Doubles = NDArray[np.float64]


class Swaps:
    """Sums over the test utterances of one network after another, for one y.

    Distances are in SDs of the features over the network's training utterances.

    Args:
        place: which y.
        labels: its classes.
    """

    def __init__(self, place: int, labels: Sequence[str]) -> None:
        self.place, self.labels = place, tuple(labels)
        count = len(labels)
        self.utterances = 0
        self.error = self.error_of_mean = 0.0
        self.read_back = 0
        self.moved, self.swapped_error = np.zeros(count), np.zeros(count)
        self.consistent = np.zeros(count, dtype=np.int64)
        self.means: Doubles | None = None
        self.names: tuple[str, ...] = ()

    @torch.no_grad()
    def add(self, codes: Codes, data: Examples, scaling: Scaling) -> None:
        """Decode a network's test utterances as they are and as every class."""
        checkpoint = codes.network.checkpoint
        self.names = extractor(feature_config(checkpoint.features)).names
        mean, spread = _training_spread(data.values, scaling, codes.train)
        for start in range(0, len(codes.test), _PART):
            rows = codes.test[start : start + _PART]
            self._add(checkpoint, codes, rows, inputs(data.values, scaling, rows), mean, spread)

    def _add(
        self,
        checkpoint: Checkpoint[Aae, AaeConfig],
        codes: Codes,
        rows: Rows,
        heard: tuple[Tensor, Tensor | None],
        mean: Tensor,
        spread: Tensor,
    ) -> None:
        net, limit = checkpoint.net, checkpoint.features.limit
        assert net.decoder is not None
        assert codes.z is not None
        x, mask = heard
        ys = [torch.from_numpy(y[rows])[None] for y in codes.ys]
        z = torch.from_numpy(codes.z[rows])[None]

        def decoded(y: Tensor) -> tuple[Tensor, NDArray[np.int64]]:
            """x̂ of this y, and the class that the encoder reads from it."""
            found = net.decoder([*ys[: self.place], y, *ys[self.place + 1 :]], z)  # type: ignore[misc]
            found = found if mask is None else found * mask[..., None]
            logits, _ = net.encoder(found.clamp(-limit, limit), mask)
            return found, logits[self.place][0].argmax(1).numpy()

        plain, read = decoded(ys[self.place])
        self.utterances += len(rows)
        self.read_back += int((read == codes.ys[self.place][rows].argmax(1)).sum())
        self.error += _squared((plain - x) / spread, mask).sum()
        self.error_of_mean += _squared((x - mean) / spread, mask).sum()
        if self.means is None:
            self.means = np.zeros((len(self.labels), x.shape[-1]))
        for index in range(len(self.labels)):
            swapped = torch.zeros_like(ys[self.place])
            swapped[..., index] = 1.0
            found, read = decoded(swapped)
            self.consistent[index] += int((read == index).sum())
            self.moved[index] += np.sqrt(_squared((found - plain) / spread, mask)).sum()
            self.swapped_error[index] += _squared((found - x) / spread, mask).sum()
            self.means[index] += _over_frames(found / spread, mask).sum(0)

    def results(self) -> dict[str, Any]:
        """Means over all test utterances."""
        assert self.means is not None
        count = max(self.utterances, 1)
        change = self.means / count
        return {
            "classes": list(self.labels),
            "utterances": self.utterances,
            "reconstruction_error": self.error / count,
            "error_of_the_mean": self.error_of_mean / count,
            "read_back_unswapped": self.read_back / count,
            "read_back_swapped": float(self.consistent.sum() / (count * len(self.labels))),
            "by_class": [
                {
                    "class": label,
                    "moved": float(self.moved[i] / count),
                    "error": float(self.swapped_error[i] / count),
                    "read_back": float(self.consistent[i] / count),
                }
                for i, label in enumerate(self.labels)
            ],
            "between": [
                {
                    "from": self.labels[a],
                    "to": self.labels[b],
                    "rms": float(np.sqrt(((change[b] - change[a]) ** 2).mean())),
                    "features": self._most(change[b] - change[a]),
                }
                for a, b in combinations(range(len(self.labels)), 2)
            ],
        }

    def _most(self, change: Doubles) -> list[dict[str, Any]]:
        order = np.argsort(-np.abs(change), kind="stable")[:_MOST]
        return [{"feature": self.names[i], "change": float(change[i])} for i in order]


def _training_spread(values: Values, scaling: Scaling, rows: Rows) -> tuple[Tensor, Tensor]:
    """Mean and SD `[features]` of the normalised training utterances; 1 where nothing varies."""
    total = square = torch.zeros(values.x.shape[-1], dtype=torch.float64)
    count = 0.0
    for start in range(0, len(rows), _PART):
        x, mask = inputs(values, scaling, rows[start : start + _PART])
        whole = x[0].double()  # beyond an utterance's end it is 0
        axes = tuple(range(whole.dim() - 1))
        total, square = total + whole.sum(axes), square + whole.square().sum(axes)
        count += len(whole) if mask is None else float(mask.sum())
    mean = total / count
    spread = (square / count - mean.square()).clamp(min=0).sqrt()
    return mean.float(), torch.where(spread > 1e-6, spread, 1.0).float()


def _over_frames(x: Tensor, mask: Tensor | None) -> Doubles:
    """`[1, n, ...]` as one vector per utterance `[n, features]`, the mean of its frames."""
    if mask is None:
        return np.asarray(x[0].double().numpy())
    kept = mask[0][..., None]
    return np.asarray(((x[0] * kept).sum(1) / kept.sum(1).clamp(min=1)).double().numpy())


def _squared(difference: Tensor, mask: Tensor | None) -> Doubles:
    """Mean square over features, and frames that are there, of each utterance `[n]`."""
    return np.asarray(_over_frames(difference.square(), mask).mean(1))
