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
    """One replica: which utterances it learns from and is tested on.

    They are told by their places among those of its target: another leaves other utterances out.
    """

    fold: int
    seed: int
    draw: int
    """Seed of everything random in this replica."""
    labelled: Rows
    unlabelled: Rows
    validation: Rows
    test: Rows
    target: int = 0
    """Its place among the targets that are trained together."""

    @property
    def training(self) -> Rows:
        """All that it learns from."""
        return np.concatenate([self.labelled, self.unlabelled])


class Values:
    """Features of all utterances of a run, whichever targets they belong to.

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
    """What each replica hears: its target's utterances, and how it normalises them.

    Of targets with fewer utterances or groups than others, the rest is filled up.
    """

    place: Tensor
    """Of each utterance among the values `[R, n]`."""
    group: Tensor
    """Of utterances with statistics in common `[R, n]`."""
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
        places: Sequence[Rows] | None = None,
    ) -> Scaling:
        """The statistics that each replica's training utterances give.

        Args:
            values: of all utterances.
            jobs: one per replica.
            kind: whose statistics; nobody's are looked at who is not of a replica's target.
            limit: of normalised values, in SDs.
            speakers: of all utterances.
            corpora: of all utterances.
            places: of each target's utterances among all; a single target has them all.
        """
        places = [np.arange(len(values.raw))] if places is None else places
        found = {}
        for job in jobs:
            key = (job.target, job.training.tobytes())
            if key not in found:
                own = places[job.target]
                found[key] = _statistics(values, job, kind, own, speakers, corpora)
        each = [found[(job.target, job.training.tobytes())] for job in jobs]
        device = values.device
        return cls(
            padded([places[job.target] for job in jobs])[0].to(device),
            padded([group for group, _, _ in each])[0].to(device),
            _filled_up([mean for _, mean, _ in each], 0.0).to(device),
            _filled_up([scale for _, _, scale in each], 1.0).to(device),
            limit,
        )

    def alone(self, replica: int) -> Scaling:
        """One replica's."""
        part = slice(replica, replica + 1)
        return Scaling(
            self.place[part], self.group[part], self.mean[part], self.scale[part], self.limit
        )

    def whole(self, values: Values, replica: int) -> dict[str, Tensor]:
        """A replica's `mean` and `scale` of features as extracted `[groups, features]`, float64."""
        shift, spread = torch.from_numpy(values.shift), torch.from_numpy(values.spread)
        groups = int(self.group[replica].max()) + 1
        mean, scale = (part[replica, :groups].cpu().double() for part in (self.mean, self.scale))
        return {"mean": shift + spread * mean, "scale": spread * scale}


def _statistics(
    values: Values,
    job: Job,
    kind: Normalisation,
    own: Rows,
    speakers: Sequence[str | None],
    corpora: Sequence[str],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Groups `[n]` of a target's utterances, and what a replica's training says of each group."""
    trains = np.zeros(len(own), dtype=bool)
    trains[job.training] = True
    if kind == "none":  # the scale of `Values` is that of all targets; a replica's is its own
        kind, trains = "global", np.ones(len(own), dtype=bool)
    return group_statistics(
        [values.raw[i] for i in own],
        trains,
        kind,
        speakers=[speakers[i] for i in own],
        corpora=[corpora[i] for i in own],
    )


def _filled_up(parts: Sequence[NDArray[np.float64]], value: float) -> Tensor:
    """Statistics `[groups, features]` of different numbers of groups as `[R, most, features]`."""
    most = max(len(part) for part in parts)
    out = np.full((len(parts), most, parts[0].shape[1]), value)
    for whole, part in zip(out, parts, strict=True):
        whole[: len(part)] = part
    return torch.from_numpy(out).float()


def batch(values: Values, scaling: Scaling, rows: Tensor) -> tuple[Tensor, Tensor | None]:
    """Normalised features `[R, B, ...]` of the utterances `rows` `[R, B]`, and their mask."""
    places = scaling.place.gather(1, rows)
    x = values.x[places]
    if scaling.mean.shape[1] == 1:
        mean, scale = scaling.mean, scaling.scale
    else:
        replica = torch.arange(len(rows), device=rows.device)[:, None]
        group = scaling.group.gather(1, rows)
        mean, scale = scaling.mean[replica, group], scaling.scale[replica, group]
    if values.mask is None:
        return ((x - mean) / scale).clamp_(-scaling.limit, scaling.limit), None
    mask = values.mask[places]
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
