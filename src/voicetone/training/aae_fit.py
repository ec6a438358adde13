"""Training of adversarial autoencoders and their baselines, all replicas at once.

Each step has the three phases of the paper: reconstruct, regularise, classify. The first two need
no labels. Every phase has an optimiser of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from voicetone.evaluation.metrics import uar
from voicetone.models import aae
from voicetone.models.aae import Aae, AaeConfig
from voicetone.models.replicas import Draws
from voicetone.training.aae_recipe import System
from voicetone.training.replica_data import Job, Scaling, batch, padded
from voicetone.training.replica_fit import Batch, Examples, Kept, Phase, Training
from voicetone.types import Floats

_TEST_BATCH = 256


@dataclass(frozen=True)
class Outcome(Kept):
    """What a replica gave."""

    scores: Sequence[Floats] = ()
    """Probabilities of the test utterances for each y `[test, classes]`."""


class Trainer:
    """The three phases on one batch."""

    def __init__(self, net: Aae, system: System, prior: Tensor, draws: Draws) -> None:
        self.net, self.system, self.prior, self.draws = net, system, prior, draws
        encoder = list(net.encoder.parameters())
        decoder = [] if net.decoder is None else list(net.decoder.parameters())
        relative = system.ingredients[2]
        kind = system.optimiser or ("nadam" if system.network == "base" else "adam")

        def phase(parameters: list[nn.Parameter], rate: float = system.rate) -> Phase:
            return Phase(parameters, rate, system.clip, kind)

        self.classifier = phase(encoder)
        if net.decoder is not None:
            self.autoencoder = phase([*encoder, *decoder])
            self.generator = phase(encoder)
            self.discriminators = phase(
                list(net.discriminators.parameters()), system.rate * relative
            )

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
    training = Training(
        net,
        examples,
        scaling,
        jobs,
        trainer.step,
        lambda: watch(net, examples, scaling, jobs),
        system.batch,
        labels_only=system.network == "base",
    )
    kept = training.run(system.epochs, steps, progress)
    scores, _ = encode(net, examples, scaling, [job.test for job in jobs])
    return [
        Outcome(k.epoch, k.curves, k.state, k.diverged, [s[index] for s in scores])
        for index, k in enumerate(kept)
    ]


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
        parts, truth = [], examples.truth[job.target]
        for index, count in enumerate(examples.classes):
            share = np.full(count, 1 / count)
            if system.prior == "training":
                seen = np.bincount(truth[job.labelled, index], minlength=count)
                share = seen / seen.sum()
            parts.append(share)
        rows.append(np.concatenate(parts))
    return torch.from_numpy(np.stack(rows)).float()


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
    """What its validation speakers show of each replica: UAR, losses, and the codes' shape.

    `y_entropy` is that of the mean y, as a share of the greatest there is: 0 is a collapsed y.
    `z_mean` and `z_sd` are root mean square of the means and mean of the SDs over z's dimensions:
    0 and 1 under the prior.
    """
    if not any(len(job.validation) for job in jobs):
        return [{} for _ in jobs]
    rows = [job.validation for job in jobs]
    ys, zs = encode(net, examples, scaling, rows)
    errors = _reconstruction(net, examples, scaling, rows, ys, zs) if zs is not None else None
    found: list[dict[str, float]] = []
    for index, job in enumerate(jobs):
        told: dict[str, float] = {}
        found.append(told)
        if not len(job.validation):
            continue
        recalls, losses, entropies = [], [], []
        for place, y in enumerate(ys):
            truth = examples.truth[job.target][job.validation, place]
            p = y[index].astype(np.float64)
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
