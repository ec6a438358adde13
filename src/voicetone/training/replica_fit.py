"""Training of many small networks at once: batches, optimisers, and what is kept of each.

What is trained, and by which losses, is told by `voicetone.training.aae_fit` and
`voicetone.training.gmm_fit`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from voicetone.features.workers import cores
from voicetone.models.replicas import replica_state
from voicetone.training.replica_data import Job, Rows, Scaling, Stream, Values, batch

_MMAP_MAX, _TOP_PAD, _TRIM_THRESHOLD = -4, -2, -1  # of glibc's mallopt
_BETA1 = 0.5  # of Adam, as public adversarial autoencoders have it
Curves = dict[str, list[float]]


@dataclass(frozen=True)
class Examples:
    """What all replicas share."""

    values: Values
    truth: tuple[NDArray[np.int64], ...]
    """For each target: places of the classes of each y `[n, ys]`, -1 where unknown."""
    classes: tuple[int, ...]
    """Of each y, as many for every target."""

    def every(self, job: Job) -> Rows:
        """All utterances of a replica's target."""
        return np.arange(len(self.truth[job.target]))


@dataclass(frozen=True)
class Kept:
    """What is kept of a replica."""

    epoch: int
    """Whose weights: the best on validation speakers, else the last; from 1."""
    curves: Curves
    """Per epoch: losses, and what the codes of the validation speakers look like."""
    state: dict[str, Tensor]
    """Encoder and decoder of that epoch, with the statistics of its normalisation."""
    diverged: bool = False


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads, and no time lost on numbers too small to matter."""
    before = torch.get_num_threads()
    _keep_memory()
    torch.set_num_threads(count or cores())
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)


@cache
def _keep_memory() -> None:
    """Have the C library keep freed memory, where it can be told to.

    Gradients of stacked weights are made anew in every step. Handed back to the system each time,
    their pages cost a fifth of all the time on a CPU.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, -1)  # without end
        libc.mallopt(_TOP_PAD, 2**26)
    except (OSError, AttributeError):  # another C library
        return


@dataclass(frozen=True)
class Batch:
    """`values` `[R, B, ...]`, their `mask`, and `truth` `[R, B, ys]`."""

    values: Tensor
    mask: Tensor | None
    truth: Tensor


class Phase:
    """An optimiser of some parameters of all replicas."""

    def __init__(
        self,
        parameters: list[nn.Parameter],
        rate: float,
        clip: float = 0.0,
        kind: Literal["adam", "nadam"] = "adam",
    ) -> None:
        self.parameters, self.clip = parameters, clip
        self.optimiser: torch.optim.Optimizer
        if kind == "nadam":
            self.optimiser = torch.optim.NAdam(parameters, lr=rate, foreach=True)
        else:
            self.optimiser = torch.optim.Adam(
                parameters, lr=rate, betas=(_BETA1, 0.999), fused=True
            )

    def update(self, loss: Tensor) -> None:
        """A step down the losses `[R]`; no replica's gradient reaches another."""
        self.optimiser.zero_grad()
        loss.sum().backward(inputs=self.parameters)  # type: ignore[no-untyped-call]
        if self.clip:
            with_gradient = [p.grad for p in self.parameters if p.grad is not None]
            norm = torch.stack([g.flatten(1).square().sum(1) for g in with_gradient]).sum(0).sqrt()
            scale = (self.clip / (norm + 1e-12)).clamp(max=1.0)
            for gradient in with_gradient:
                gradient.mul_(scale.view(-1, *[1] * (gradient.dim() - 1)))
        self.optimiser.step()


@dataclass
class Training:
    """Networks that are trained together, and how.

    `step` gets a batch and, where some labels are hidden, a second one of labelled utterances only;
    it returns losses `[R]` by name. `watch` says after each epoch what the validation speakers show
    of each replica: `uar`, and among equals `validation_loss`, decide which epoch is kept.
    """

    net: nn.Module
    examples: Examples
    scaling: Scaling
    jobs: Sequence[Job]
    step: Callable[[Batch, Batch | None], dict[str, Tensor]]
    watch: Callable[[], list[dict[str, float]]]
    batch: int
    labels_only: bool = False
    """Learn from labelled utterances alone."""
    apart: bool = True
    """Whether `step` wants the labelled ones in a batch of their own where others are hidden."""

    def run(self, epochs: int, steps: int, progress: Callable[[int, int], None]) -> list[Kept]:
        """Train, and leave each replica with the weights that are kept.

        Args:
            epochs: how many.
            steps: per epoch; every replica makes as many.
            progress: told how many of how many epochs are done.
        """
        jobs, only = self.jobs, self.labels_only
        every = [Stream(job.labelled if only else job.training, (job.draw, 0)) for job in jobs]
        known = [
            Stream(job.labelled, (job.draw, 1))
            if len(job.unlabelled) and self.apart and not only
            else None
            for job in jobs
        ]
        semi = any(known)
        keeper = _Keeper(self.net, self.examples, self.scaling, jobs)
        seen = hidden(self.examples, jobs)
        for epoch in range(1, epochs + 1):
            self.net.train()
            sums: dict[str, list[Tensor]] = {}
            for _ in range(steps):
                rows = [s.take(self.batch) for s in every]
                x = self._batch(seen, rows)
                labelled = None
                if semi:  # who has no unlabelled utterances takes the same batch again
                    own = [k.take(self.batch) if k else r for k, r in zip(known, rows, strict=True)]
                    labelled = self._batch(seen, own)
                for name, loss in self.step(x, labelled).items():
                    sums.setdefault(name, []).append(loss)
            losses = {k: torch.stack(v).mean(0) for k, v in sums.items()}
            keeper.after(losses, self.watch(), epoch)
            progress(epoch, epochs)
        return keeper.kept()

    def _batch(self, truth: Tensor, taken: Sequence[Rows]) -> Batch:
        rows = torch.from_numpy(np.stack(taken)).to(truth.device)
        x, mask = batch(self.examples.values, self.scaling, rows)
        replica = torch.arange(len(rows), device=truth.device)[:, None]
        return Batch(x, mask, truth[replica, rows])


def hidden(examples: Examples, jobs: Sequence[Job]) -> Tensor:
    """The labels that each replica may see `[R, n, ys]`: those of its labelled rows."""
    most = max(len(truth) for truth in examples.truth)
    seen = np.full((len(jobs), most, len(examples.classes)), -1, dtype=np.int64)
    for line, job in zip(seen, jobs, strict=True):
        line[job.labelled] = examples.truth[job.target][job.labelled]
    return torch.from_numpy(seen).to(examples.values.device)


@dataclass
class _Keeper:
    """Watches the replicas after each epoch and keeps the best weights of each."""

    net: nn.Module
    examples: Examples
    scaling: Scaling
    jobs: Sequence[Job]
    curves: list[Curves] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.curves = [{} for _ in self.jobs]
        self.best: list[tuple[float, float]] = [(-1.0, 0.0)] * len(self.jobs)
        self.epoch = [0] * len(self.jobs)
        self.diverged = [False] * len(self.jobs)
        self.state = {k: v.detach().clone() for k, v in _kept(self.net).items()}

    def after(
        self, losses: dict[str, Tensor], found: Sequence[dict[str, float]], epoch: int
    ) -> None:
        """Note an epoch's losses `[R]` and what validation speakers show; keep what is best."""
        better = []
        for index, curves in enumerate(self.curves):
            told = {k: float(v[index]) for k, v in losses.items()} | found[index]
            for name, value in told.items():
                curves.setdefault(name, []).append(value)
            sound = all(np.isfinite(v) for v in told.values())
            self.diverged[index] |= not sound
            score = (told.get("uar", 0.0), -told.get("validation_loss", -float(epoch)))
            if sound and not self.diverged[index] and score > self.best[index]:
                self.best[index], self.epoch[index] = score, epoch
                better.append(index)
        rows = torch.tensor(better, dtype=torch.int64, device=self.examples.values.device)
        if better:
            for name, weights in _kept(self.net).items():
                self.state[name][rows] = weights.detach()[rows]

    def kept(self) -> list[Kept]:
        """Give the network the weights that were kept."""
        self.net.load_state_dict(self.state, strict=False)
        out = []
        for index in range(len(self.jobs)):
            state = {k: v for k, v in replica_state(self.net, index).items() if k in self.state}
            state |= self.scaling.whole(self.examples.values, index)
            out.append(Kept(self.epoch[index], self.curves[index], state, self.diverged[index]))
        return out


def _kept(net: nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in net.state_dict().items() if not k.startswith("discriminator")}
