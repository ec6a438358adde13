"""Training of autoencoders whose codes match a mixture of Gaussians, all replicas at once.

Each step has the three updates of Sahu et al. (2017): the autoencoder, the discriminator, and the
encoder against the discriminator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voicetone.evaluation.metrics import uar
from voicetone.models import aae
from voicetone.models.gmm_aae import GmmAae, GmmConfig
from voicetone.models.replicas import Draws
from voicetone.training.gmm_recipe import CodeSystem
from voicetone.training.replica_data import Job, Scaling, batch, padded
from voicetone.training.replica_fit import Batch, Examples, Kept, Phase, Training
from voicetone.types import Floats

_AT_ONCE = 256
SNAPSHOTS = 50


@dataclass(frozen=True)
class Coded(Kept):
    """What a replica gave."""

    codes: Floats = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    """Of every utterance of the run `[n, size]`."""
    snapshots: tuple[tuple[int, Floats], ...] = ()
    """Epoch and codes, evenly spaced over the training; of few replicas only."""


class GmmTrainer:
    """The three updates on one batch.

    Args:
        net: all replicas.
        system: rates and noise.
        frequencies: of the classes among the labelled utterances `[R, classes]`: weights of the
            mixture's components as the prior of utterances without a label.
        draws: samples of the prior, and noise.
    """

    def __init__(self, net: GmmAae, system: CodeSystem, frequencies: Tensor, draws: Draws) -> None:
        self.net, self.system, self.frequencies, self.draws = net, system, frequencies, draws
        encoder, decoder = list(net.encoder.parameters()), list(net.decoder.parameters())
        self.autoencoder = Phase([*encoder, *decoder], system.rate, system.clip)
        if net.discriminator is not None:
            judge = list(net.discriminator.parameters())
            relative = system.rate * system.discriminator_rate
            self.discriminator = Phase(judge, relative, system.clip)
            self.generator = Phase(encoder, system.rate, system.clip)

    def step(self, x: Batch, _: Batch | None = None) -> dict[str, Tensor]:
        """One step on a batch, unlabelled utterances included; the losses, one per replica."""
        found = {"reconstruction": self.reconstruct(x)}
        if self.net.discriminator is not None:
            found |= self.regularise(x)
        return found

    def reconstruct(self, x: Batch) -> Tensor:
        """Encoder and decoder learn to give x back."""
        loss = aae.reconstruction_loss(x.values, self.net.decode(self.net.encode(x.values)))
        self.autoencoder.update(loss)
        return loss.detach()

    def regularise(self, x: Batch) -> dict[str, Tensor]:
        """The discriminator learns prior samples from codes, then the encoder to fool it.

        As many samples as codes, each of the component of its utterance's class.
        """
        truth = x.truth[..., 0]
        codes, prior = self.net.encode(x.values), self.prior(truth)
        judged = aae.discriminator_loss(
            self.net.judge(self._noisy(prior), truth),
            self.net.judge(self._noisy(codes.detach()), truth),
        )
        self.discriminator.update(judged)
        fooled = aae.generator_loss(self.net.judge(self._noisy(codes), truth))
        self.generator.update(fooled)
        return {"discriminator": judged.detach(), "generator": fooled.detach()}

    def prior(self, truth: Tensor) -> Tensor:
        """A sample `[R, B, size]` for each utterance, of its class's component; without a label of
        any component."""
        count = truth.shape[1]
        any_class = self.draws.one_hot(self.frequencies, count).argmax(2)
        normal = self.draws.normal(count, self.net.config.mixture.size)
        return self.net.config.mixture.place(normal, torch.where(truth < 0, any_class, truth))

    def _noisy(self, codes: Tensor) -> Tensor:
        if not self.system.noise:
            return codes
        return codes + self.system.noise * self.draws.normal(*codes.shape[1:])


def fit_codes(
    examples: Examples,
    jobs: Sequence[Job],
    scaling: Scaling,
    system: CodeSystem,
    size: int,
    steps: int,
    progress: Callable[[int, int], None] = lambda done, of: None,
    shown: Sequence[int] = (0,),
) -> list[Coded]:
    """Train replicas from scratch, and encode every utterance with each.

    The last epoch is kept: a match of distributions is not chosen by how well classes are told
    apart.

    Args:
        examples: of all of them, with one y.
        jobs: one per replica.
        scaling: their normalisation.
        system: the network and its training.
        size: of the codes.
        steps: per epoch; every replica makes as many.
        progress: told how many of how many epochs are done.
        shown: the replicas whose codes are kept over the epochs.
    """
    device = examples.values.device
    draws = Draws([job.draw for job in jobs], device)
    config = system.config(examples.values.x.shape[-1], examples.classes[0], size)
    net = GmmAae(config, draws).to(device)
    weights = frequencies(examples, jobs)
    trainer = GmmTrainer(net, system, torch.from_numpy(weights).float().to(device), draws)
    watcher = _Watcher(net, examples, scaling, jobs, weights, system.epochs, shown)
    training = Training(
        net, examples, scaling, jobs, trainer.step, watcher.look, system.batch, apart=False
    )
    kept = training.run(system.epochs, steps, progress)
    codes = encode(net, examples, scaling, [examples.every(job) for job in jobs])
    return [
        Coded(
            k.epoch,
            k.curves,
            k.state,
            k.diverged,
            c,
            tuple(watcher.snapshots.get(i, ())),
        )
        for i, (k, c) in enumerate(zip(kept, codes, strict=True))
    ]


def frequencies(examples: Examples, jobs: Sequence[Job]) -> NDArray[np.float64]:
    """Of the classes among the labelled utterances of each replica `[R, classes]`."""
    count = examples.classes[0]
    seen = [
        np.bincount(examples.truth[job.target][job.labelled, 0], minlength=count) for job in jobs
    ]
    return np.stack([s / s.sum() for s in seen])


@torch.no_grad()
def encode(
    net: GmmAae, examples: Examples, scaling: Scaling, rows: Sequence[NDArray[np.int64]]
) -> list[Floats]:
    """Codes `[n, size]` of each replica's utterances."""
    net.eval()
    places, real = padded(rows)
    parts = [
        net.encode(batch(examples.values, scaling, part)[0]).cpu()
        for part in torch.split(places.to(examples.values.device), _AT_ONCE, dim=1)
    ]
    whole = torch.cat(parts, 1).numpy()
    return [np.asarray(w[r], dtype=np.float32) for w, r in zip(whole, real, strict=True)]


@torch.no_grad()
def reconstruction_errors(
    net: GmmAae, examples: Examples, scaling: Scaling, rows: Sequence[NDArray[np.int64]]
) -> list[float]:
    """Mean squared error of each replica on its own rows; NaN where there are none."""
    net.eval()
    places, real = padded(rows)
    device = examples.values.device
    kept = torch.from_numpy(real).to(device)
    sums = torch.zeros(len(rows), device=device)
    for start in range(0, real.shape[1], _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        x, _ = batch(examples.values, scaling, places[:, part].to(device))
        error = (net.decode(net.encode(x)) - x).square().mean(2)
        sums += (error * kept[:, part]).sum(1)
    return [float(v) for v in (sums / kept.sum(1)).cpu()]


@dataclass
class _Watcher:
    """What the validation speakers show after each epoch, and codes for an animation.

    `posterior_uar` is that of the likeliest component under the mixture; `distance` the mean
    distance of the codes from the middle.
    """

    net: GmmAae
    examples: Examples
    scaling: Scaling
    jobs: Sequence[Job]
    weights: NDArray[np.float64]
    epochs: int
    shown: Sequence[int]

    def __post_init__(self) -> None:
        self.snapshots: dict[int, list[tuple[int, Floats]]] = {i: [] for i in self.shown}
        self._epoch = 0
        self._kept = set(np.linspace(1, self.epochs, SNAPSHOTS).round().astype(int).tolist())

    def look(self) -> list[dict[str, float]]:
        """After an epoch."""
        self._epoch += 1
        config: GmmConfig = self.net.config
        if config.adversarial and self.shown and self._epoch in self._kept:
            whole = [self.examples.every(job) for job in self.jobs]
            rows = [every if i in self.shown else every[:1] for i, every in enumerate(whole)]
            codes = encode(self.net, self.examples, self.scaling, rows)
            for index, kept in self.snapshots.items():
                kept.append((self._epoch, codes[index]))
        rows = [job.validation for job in self.jobs]
        if not any(len(held) for held in rows):
            return [{} for _ in rows]
        errors = reconstruction_errors(self.net, self.examples, self.scaling, rows)
        told = [
            {"validation_reconstruction": error} if len(held) else {}
            for held, error in zip(rows, errors, strict=True)
        ]
        if not config.adversarial:
            return told
        each = encode(self.net, self.examples, self.scaling, rows)
        for found, code, job, weights in zip(told, each, self.jobs, self.weights, strict=True):
            if not len(job.validation):
                continue
            truth = self.examples.truth[job.target][job.validation, 0]
            found["distance"] = float(np.linalg.norm(code, axis=1).mean())
            if np.isfinite(code).all():
                likely = config.mixture.posterior(code.astype(np.float64), weights).argmax(1)
                found["posterior_uar"] = uar(truth, likely)
        return told
