"""Utterances as tensors for replicas: each replica has its own rows and statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voicetone.errors import DataError
from voicetone.features.lengths import fitted
from voicetone.features.normalise import Normalisation, group_statistics
from voicetone.types import Floats

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Job:
    """One replica: which utterances it learns from and is tested on, by their places."""

    fold: int
    seed: int
    draw: int
    """Seed of everything random in this replica."""
    labelled: Rows
    unlabelled: Rows
    validation: Rows
    test: Rows

    @property
    def training(self) -> Rows:
        """All that it learns from."""
        return np.concatenate([self.labelled, self.unlabelled])


class Values:
    """Features of all utterances of a run, and each replica's normalisation of them.

    Args:
        values: `[features]` each, or `[n, features]`.
        frames: 0, or the length that frames are brought to: zeros after the end, or the middle.
        device: where the networks are.

    Raises:
        DataError: a value that is no number.
    """

    def __init__(self, values: Sequence[Floats], frames: int, device: torch.device) -> None:
        for index, value in enumerate(values):
            if not np.isfinite(value).all():
                raise DataError(f"utterance {index + 1} has features that are no numbers")
        self.device = device
        stacked = np.concatenate([np.atleast_2d(v) for v in values]).astype(np.float64)
        # One affine map more or less changes nothing once a fold's own is applied, but single
        # precision then loses nothing on features whose mean is far from 0.
        self.shift, spread = stacked.mean(0), stacked.std(0)
        self.spread = np.where(spread > 0, spread, 1.0)
        self.raw = [((v - self.shift) / self.spread).astype(np.float32) for v in values]
        self.mask: Tensor | None = None
        if not frames:
            self.x = torch.from_numpy(np.stack(self.raw)).to(device)
            return
        parts = [fitted(value, frames) for value in self.raw]
        x, mask = (np.stack([part[i] for part in parts]) for i in (0, 1))
        self.x, self.mask = torch.from_numpy(x).to(device), torch.from_numpy(mask).to(device)


@dataclass(frozen=True)
class Scaling:
    """How each replica normalises: statistics of groups of utterances."""

    group: Tensor
    """Of each utterance `[n]`; the same for all replicas."""
    mean: Tensor
    """`[R, groups, features]`."""
    scale: Tensor
    limit: float
    """Values beyond so many SDs are cut to it."""

    @classmethod
    def of(
        cls,
        values: Values,
        jobs: Sequence[Job],
        kind: Normalisation,
        limit: float,
        speakers: Sequence[str | None],
        corpora: Sequence[str],
    ) -> Scaling:
        """The statistics that each replica's training utterances give."""
        found = {}
        for job in jobs:
            key = (job.fold, job.training.tobytes())
            if key in found:
                continue
            trains = np.zeros(len(values.raw), dtype=bool)
            trains[job.training] = True
            found[key] = group_statistics(
                values.raw, trains, kind, speakers=speakers, corpora=corpora
            )
        each = [found[(job.fold, job.training.tobytes())] for job in jobs]
        return cls(
            torch.from_numpy(each[0][0]).to(values.device),
            torch.from_numpy(np.stack([e[1] for e in each])).float().to(values.device),
            torch.from_numpy(np.stack([e[2] for e in each])).float().to(values.device),
            limit,
        )

    def alone(self, replica: int) -> Scaling:
        """One replica's."""
        part = slice(replica, replica + 1)
        return Scaling(self.group, self.mean[part], self.scale[part], self.limit)

    def whole(self, values: Values, replica: int) -> dict[str, Tensor]:
        """A replica's `mean` and `scale` of features as extracted `[groups, features]`, float64."""
        shift, spread = torch.from_numpy(values.shift), torch.from_numpy(values.spread)
        mean, scale = self.mean[replica].cpu().double(), self.scale[replica].cpu().double()
        return {"mean": shift + spread * mean, "scale": spread * scale}


def batch(values: Values, scaling: Scaling, rows: Tensor) -> tuple[Tensor, Tensor | None]:
    """Normalised features `[R, B, ...]` of the utterances `rows` `[R, B]`, and their mask."""
    x = values.x[rows]
    if scaling.mean.shape[1] == 1:
        mean, scale = scaling.mean, scaling.scale
    else:
        replica = torch.arange(len(rows), device=rows.device)[:, None]
        mean = scaling.mean[replica, scaling.group[rows]]
        scale = scaling.scale[replica, scaling.group[rows]]
    if values.mask is None:
        return ((x - mean) / scale).clamp_(-scaling.limit, scaling.limit), None
    mask = values.mask[rows]
    x = (x - mean.unsqueeze(2)) / scale.unsqueeze(2)
    return x.clamp_(-scaling.limit, scaling.limit) * mask[..., None], mask


class Stream:
    """Endless shuffled passes over some utterances.

    Args:
        rows: their places.
        seed: of the order.
    """

    def __init__(self, rows: Rows, seed: Sequence[int]) -> None:
        self._rows, self._rng = rows, np.random.default_rng(list(seed))
        self._left = rows[:0]

    def take(self, count: int) -> Rows:
        """The next ones; nobody comes again before all have come."""
        while len(self._left) < count:
            self._left = np.concatenate([self._left, self._rng.permutation(self._rows)])
        taken, self._left = self._left[:count], self._left[count:]
        return taken


def padded(rows: Sequence[Rows]) -> tuple[Tensor, NDArray[np.bool_]]:
    """Rows of different number as one array `[R, longest]`, and which of it counts."""
    longest = max(len(r) for r in rows)
    out = np.zeros((len(rows), longest), dtype=np.int64)
    real = np.zeros((len(rows), longest), dtype=bool)
    for line, kept, row in zip(out, real, rows, strict=True):
        line[: len(row)], kept[: len(row)] = row, True
    return torch.from_numpy(out), real
