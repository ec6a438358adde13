"""Training of adversarial autoencoders and their baselines, all replicas at once.

Each step has the three phases of the paper: reconstruct, regularise, classify. The first two need
no labels. Every phase has an optimiser of its own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from voicetone.evaluation.metrics import uar
from voicetone.features.workers import cores
from voicetone.models import aae
from voicetone.models.aae import Aae, AaeConfig
from voicetone.models.replicas import Draws, replica_state
from voicetone.training.aae_recipe import System
from voicetone.training.replica_data import Job, Rows, Scaling, Stream, Values, batch, padded
from voicetone.types import Floats

_MMAP_MAX, _TOP_PAD, _TRIM_THRESHOLD = -4, -2, -1  # of glibc's mallopt
_BETA1 = 0.5  # of Adam, as public adversarial autoencoders have it
_TEST_BATCH = 256
Curves = dict[str, list[float]]


@dataclass(frozen=True)
class Examples:
    """What all replicas share."""

    values: Values
    truth: NDArray[np.int64]
    """Places of the classes of each y `[n, ys]`, -1 where unknown."""
    classes: tuple[int, ...]


@dataclass
class Outcome:
    """What a replica gave."""

    scores: list[Floats]
    """Probabilities of the test utterances for each y `[test, classes]`."""
    epoch: int
    """That was kept: the best on validation speakers, else the last; from 1."""
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


class Trainer:
    """The three phases on one batch."""

    def __init__(self, net: Aae, system: System, prior: Tensor, draws: Draws) -> None:
        self.net, self.system, self.prior, self.draws = net, system, prior, draws
        encoder = list(net.encoder.parameters())
        decoder = [] if net.decoder is None else list(net.decoder.parameters())
        relative = system.ingredients[2]
        self.classifier = _Phase(encoder, system, system.rate)
        if net.decoder is not None:
            self.autoencoder = _Phase([*encoder, *decoder], system, system.rate)
            self.generator = _Phase(encoder, system, system.rate)
            judges = list(net.discriminators.parameters())
            self.discriminators = _Phase(judges, system, system.rate * relative)

    def step(self, x: Batch, labelled: Batch | None = None) -> dict[str, Tensor]:
        """One step.

        Args:
            x: the batch of the first two phases.
            labelled: the batch of the third; the same if not given.

        Returns:
            The losses, one per replica each.
        """
        weights = self.system.weights
        found = {}
        if self.net.decoder is not None:
            if weights.reconstruct:
                found["reconstruction"] = self.reconstruct(x)
            if weights.y or weights.z:
                found |= self.regularise(x)
        if weights.classify:
            found["classification"] = self.classify(labelled or x)
        return found

    def reconstruct(self, x: Batch) -> Tensor:
        """Phase 1: encoder and decoder learn to give x back."""
        assert self.net.decoder is not None
        logits, z = self.net.encoder(x.values, x.mask)
        assert z is not None
        ys = [torch.softmax(y, 2) for y in logits]
        if self.system.true_labels_to_decoder:
            ys = [_true(y, x.truth[..., i]) for i, y in enumerate(ys)]
        loss = aae.reconstruction_loss(x.values, self.net.decoder(ys, z), x.mask)
        self.autoencoder.update(loss * self.system.weights.reconstruct)
        return loss.detach()

    def regularise(self, x: Batch) -> dict[str, Tensor]:
        """Phase 2: discriminators learn priors from codes, then the encoder learns to fool them."""
        logits, z = self.net.encoder(x.values, x.mask)
        assert z is not None
        codes = [*(torch.softmax(y, 2) for y in logits), z]
        priors = self._priors(x.values.shape[1])
        judged = [
            aae.discriminator_loss(judge(self._noisy(real)), judge(self._noisy(code.detach())))
            for judge, real, code in zip(self.net.discriminators, priors, codes, strict=True)
        ]
        self.discriminators.update(torch.stack(judged).sum(0))
        fooled = [
            aae.generator_loss(judge(self._noisy(code)))
            for judge, code in zip(self.net.discriminators, codes, strict=True)
        ]
        weights = self.system.weights
        loss = weights.z * fooled[-1] + weights.y * torch.stack(fooled[:-1]).sum(0)
        self.generator.update(loss)
        return {
            "discriminator_y": torch.stack(judged[:-1]).mean(0).detach(),
            "discriminator_z": judged[-1].detach(),
            "generator_y": torch.stack(fooled[:-1]).mean(0).detach(),
            "generator_z": fooled[-1].detach(),
        }

    def classify(self, x: Batch) -> Tensor:
        """Phase 3: the encoder's y learns the labels."""
        logits, _ = self.net.encoder(x.values, x.mask)
        losses = [aae.classification_loss(y, x.truth[..., i]) for i, y in enumerate(logits)]
        loss = torch.stack(losses).sum(0)
        self.classifier.update(loss * self.system.weights.classify)
        return loss.detach()

    def _priors(self, count: int) -> list[Tensor]:
        sizes = self.net.config.classes
        parts = torch.split(self.prior, list(sizes), dim=1)
        ys = [self.draws.one_hot(p, count) for p in parts]
        return [*ys, self.draws.normal(count, self.net.config.style)]

    def _noisy(self, codes: Tensor) -> Tensor:
        if not self.system.noise:
            return codes
        return codes + self.system.noise * self.draws.normal(*codes.shape[1:])


@dataclass(frozen=True)
class Batch:
    """`values` `[R, B, ...]`, their `mask`, and `truth` `[R, B, ys]`."""

    values: Tensor
    mask: Tensor | None
    truth: Tensor


class _Phase:
    """An optimiser of some parameters of all replicas."""

    def __init__(self, parameters: list[nn.Parameter], system: System, rate: float) -> None:
        self.parameters, self.clip = parameters, system.clip
        kind = system.optimiser or ("nadam" if system.network == "base" else "adam")
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


def _true(y: Tensor, truth: Tensor) -> Tensor:
    known = nn.functional.one_hot(truth.clamp(min=0), y.shape[2]).to(y.dtype)
    return torch.where((truth >= 0)[..., None], known, y)


def fit(
    examples: Examples,
    jobs: Sequence[Job],
    scaling: Scaling,
    system: System,
    steps: int,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[Outcome]:
    """Train replicas from scratch.

    Args:
        examples: of all of them.
        jobs: one per replica.
        scaling: their normalisation.
        system: the network and its training.
        steps: per epoch; every replica makes as many.
        progress: told how many of how many epochs are done.

    Returns:
        What each gave. One whose losses are no numbers is `diverged`, with the weights of its last
        sound epoch; it doesn't touch the others.
    """
    device = examples.values.device
    draws = Draws([job.draw for job in jobs], device)
    net = Aae(network_config(system, examples), draws).to(device)
    trainer = Trainer(net, system, prior_of(system, examples, jobs).to(device), draws)
    base = system.network == "base"
    every = [Stream(job.labelled if base else job.training, (job.draw, 0)) for job in jobs]
    known = [
        Stream(job.labelled, (job.draw, 1)) if len(job.unlabelled) and not base else None
        for job in jobs
    ]
    semi = any(known)
    keeper = _Keeper(net, examples, scaling, jobs)
    hidden = _hidden(examples, jobs)
    for epoch in range(1, system.epochs + 1):
        net.train()
        sums: dict[str, list[Tensor]] = {}
        for _ in range(steps):
            rows = [s.take(system.batch) for s in every]
            x = _batch(examples, scaling, hidden, rows)
            labelled = None
            if semi:  # who has no unlabelled utterances classifies the batch of the other phases
                own = [k.take(system.batch) if k else r for k, r in zip(known, rows, strict=True)]
                labelled = _batch(examples, scaling, hidden, own)
            for name, loss in trainer.step(x, labelled).items():
                sums.setdefault(name, []).append(loss)
        keeper.after({k: torch.stack(v).mean(0) for k, v in sums.items()}, epoch)
        progress(epoch, system.epochs)
    return keeper.outcomes()


def network_config(system: System, examples: Examples) -> AaeConfig:
    """The sizes of a system's network."""
    norm, dropout, _ = system.ingredients
    return AaeConfig(
        inputs=examples.values.x.shape[-1],
        classes=examples.classes,
        style=system.style if system.network == "aae" else 0,
        frames=system.features.frames,
        dropout=system.dropout,
        batch_norm=norm,
        discriminator_dropout=dropout,
    )


def prior_of(system: System, examples: Examples, jobs: Sequence[Job]) -> Tensor:
    """Probabilities of the classes in y's prior `[R, classes of all ys]`."""
    rows = []
    for job in jobs:
        parts = []
        for index, count in enumerate(examples.classes):
            share = np.full(count, 1 / count)
            if system.prior == "training":
                seen = np.bincount(examples.truth[job.labelled, index], minlength=count)
                share = seen / seen.sum()
            parts.append(share)
        rows.append(np.concatenate(parts))
    return torch.from_numpy(np.stack(rows)).float()


def _hidden(examples: Examples, jobs: Sequence[Job]) -> Tensor:
    """The labels that each replica may see `[R, n, ys]`: those of its labelled rows."""
    seen = np.full((len(jobs), *examples.truth.shape), -1, dtype=np.int64)
    for line, job in zip(seen, jobs, strict=True):
        line[job.labelled] = examples.truth[job.labelled]
    return torch.from_numpy(seen).to(examples.values.device)


def _batch(examples: Examples, scaling: Scaling, truth: Tensor, taken: Sequence[Rows]) -> Batch:
    rows = torch.from_numpy(np.stack(taken)).to(truth.device)
    x, mask = batch(examples.values, scaling, rows)
    replica = torch.arange(len(rows), device=truth.device)[:, None]
    return Batch(x, mask, truth[replica, rows])


@dataclass
class _Keeper:
    """Watches the replicas after each epoch and keeps the best weights of each."""

    net: Aae
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

    def after(self, losses: dict[str, Tensor], epoch: int) -> None:
        """Note an epoch's losses `[R]`, score the validation speakers, keep what is best."""
        found = watch(self.net, self.examples, self.scaling, self.jobs)
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

    def outcomes(self) -> list[Outcome]:
        """Score the test utterances with what was kept."""
        self.net.load_state_dict(self.state, strict=False)
        tests = [job.test for job in self.jobs]
        scores, _ = encode(self.net, self.examples, self.scaling, tests)
        out = []
        for index, job in enumerate(self.jobs):
            state = {k: v for k, v in replica_state(self.net, index).items() if k in self.state}
            state |= self.scaling.whole(self.examples.values, index)
            out.append(
                Outcome(
                    [s[index][: len(job.test)] for s in scores],
                    self.epoch[index],
                    self.curves[index],
                    state,
                    self.diverged[index],
                )
            )
        return out


def _kept(net: Aae) -> dict[str, Tensor]:
    return {k: v for k, v in net.state_dict().items() if not k.startswith("discriminators.")}


@torch.no_grad()
def encode(
    net: Aae, examples: Examples, scaling: Scaling, rows: Sequence[NDArray[np.int64]]
) -> tuple[list[list[Floats]], list[Floats] | None]:
    """Codes of each replica's utterances: for each y `[n, classes]` per replica, and z."""
    net.eval()
    places, real = padded(rows)
    ys: list[list[Tensor]] = [[] for _ in examples.classes]
    zs: list[Tensor] = []
    for part in torch.split(places.to(examples.values.device), _TEST_BATCH, dim=1):
        x, mask = batch(examples.values, scaling, part)
        logits, z = net.encoder(x, mask)
        for kept, y in zip(ys, logits, strict=True):
            kept.append(torch.softmax(y.double(), 2).float().cpu())
        if z is not None:
            zs.append(z.cpu())

    def split(parts: list[Tensor]) -> list[Floats]:
        whole = torch.cat(parts, 1).numpy()
        return [np.asarray(w[r], dtype=np.float32) for w, r in zip(whole, real, strict=True)]

    return [split(y) for y in ys], split(zs) if zs else None


def watch(
    net: Aae, examples: Examples, scaling: Scaling, jobs: Sequence[Job]
) -> list[dict[str, float]]:
    """What the validation speakers show of each replica: UAR, losses, and the codes' shape.

    `y_entropy` is that of the mean y, as a share of the greatest there is: 0 is a collapsed y.
    `z_mean` and `z_sd` are root mean square of the means and mean of the SDs over z's dimensions:
    0 and 1 under the prior.
    """
    if not any(len(job.validation) for job in jobs):
        return [{} for _ in jobs]
    rows = [job.validation for job in jobs]
    ys, zs = encode(net, examples, scaling, rows)
    errors = _reconstruction(net, examples, scaling, rows, ys, zs) if zs is not None else None
    found = []
    for index, job in enumerate(jobs):
        told: dict[str, float] = {}
        recalls, losses, entropies = [], [], []
        for place, y in enumerate(ys):
            truth, p = examples.truth[job.validation, place], y[index].astype(np.float64)
            recalls.append(uar(truth, p.argmax(1)) if np.isfinite(p).all() else float("nan"))
            losses.append(-np.log(p[np.arange(len(p)), truth] + 1e-12).mean())
            mean = p.mean(0)
            entropies.append(-(mean * np.log(mean + 1e-12)).sum() / np.log(len(mean)))
        told["uar"], told["validation_loss"] = float(np.mean(recalls)), float(np.mean(losses))
        told["y_entropy"] = float(np.mean(entropies))
        if zs is not None and errors is not None:
            z = zs[index].astype(np.float64)
            told["z_mean"] = float(np.sqrt((z.mean(0) ** 2).mean()))
            told["z_sd"] = float(z.std(0).mean())
            told["validation_reconstruction"] = errors[index]
        found.append(told)
    return found


@torch.no_grad()
def _reconstruction(
    net: Aae,
    examples: Examples,
    scaling: Scaling,
    rows: Sequence[NDArray[np.int64]],
    ys: list[list[Floats]],
    zs: list[Floats],
) -> list[float]:
    """Mean squared error of each replica on its own rows."""
    assert net.decoder is not None
    places, real = padded(rows)
    device = examples.values.device
    kept = torch.from_numpy(real).float().to(device)

    def whole(parts: list[Floats]) -> Tensor:
        out = torch.zeros(*real.shape, parts[0].shape[1])
        for line, part in zip(out, parts, strict=True):
            line[: len(part)] = torch.from_numpy(part)
        return out.to(device)

    codes, z = [whole(y) for y in ys], whole(zs)
    sums = torch.zeros(len(rows), device=device)
    for start in range(0, real.shape[1], _TEST_BATCH):
        part = slice(start, start + _TEST_BATCH)
        x, mask = batch(examples.values, scaling, places[:, part].to(device))
        error = (net.decoder([c[:, part] for c in codes], z[:, part]) - x).square()
        if mask is None:
            each = error.mean(2)
        else:
            each = (error.mean(3) * mask).sum(2) / mask.sum(2).clamp(min=1)
        sums += (each * kept[:, part]).sum(1)
    return [float(v) for v in (sums / kept.sum(1).clamp(min=1)).cpu()]
