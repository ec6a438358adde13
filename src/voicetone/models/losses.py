"""Losses of classes and dimensions, of which some may be unknown.

Each is a mean over what is labelled, and 0 where nothing is, so that corpora with other labels can
share a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from voicetone.errors import DataError

_SMALL = 1e-8


def class_weights(counts: Tensor) -> Tensor:
    """Weights that give every class the same say: inverse to its examples, 1 on average over the
    examples.

    Args:
        counts: examples of each class `[classes]`; one without any has weight 0.
    """
    there = counts > 0
    counts = counts.to(torch.float32)
    even = counts.sum() / there.sum().clamp(min=1)
    return torch.where(there, even / counts.clamp(min=1.0), 0.0)


def class_loss(
    logits: Tensor,
    truth: Tensor,
    weights: Tensor | None = None,
    *,
    gamma: float = 0.0,
    smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy, weighted by class, or focal loss (Lin et al., ICCV 2017, section 3.2).

    Every example is weighed by (1 - p)^γ, p being the probability of its class, so that those that
    are known already count less. The mean is by the classes' weights, as `F.cross_entropy` has it.

    Args:
        logits: `[B, classes]`.
        truth: places of the classes `[B]`, -1 where unknown.
        weights: of the classes; all ones if not given.
        gamma: γ; 0 is the cross-entropy.
        smoothing: share of the truth that is spread evenly over the classes.
    """
    log_p = F.log_softmax(logits, dim=1)
    known = (truth >= 0).to(log_p.dtype)
    place = truth.clamp(min=0)
    hit = log_p.gather(1, place[:, None])[:, 0]
    each = -(1.0 - smoothing) * hit - smoothing * log_p.mean(dim=1)
    if gamma:
        # A rounded p may be above 1 and has no gradient worth having there.
        each = each * (1.0 - hit.exp()).clamp(min=_SMALL) ** gamma
    weight = known if weights is None else known * weights[place]
    return _mean(each, weight)


def soft_loss(logits: Tensor, shares: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy to a distribution of votes, "soft labels" (Fayek et al., IJCNN 2016).

    Args:
        logits: `[B, classes]`.
        shares: votes `[B, classes]`, of any sum; a row of zeros is unlabelled.
        weights: of the classes; a row weighs what its votes weigh on average.
    """
    shares = shares / shares.sum(dim=1, keepdim=True).clamp(min=_SMALL)
    weighed = shares if weights is None else shares * weights
    return _mean(-F.log_softmax(logits, dim=1), weighed)


def ccc(found: Tensor, truth: Tensor) -> Tensor:
    """Concordance correlation `[d]` of columns (Lin, Biometrics 45, 1989).

    2 cov / (var x + var y + (mean x - mean y)²), with variances over n. It is 0 where both are
    constant and equal or only one value is known, since nothing was shown to vary together.

    Args:
        found: `[B, d]`.
        truth: `[B, d]`, NaN where unknown.
    """
    known = ~truth.isnan()
    truth = torch.where(known, truth, torch.zeros_like(truth))
    weight = known.to(found.dtype)
    count = weight.sum(dim=0).clamp(min=1.0)
    found = torch.where(known, found, torch.zeros_like(found))  # nothing comes back from others
    a, b = found.sum(dim=0) / count, truth.sum(dim=0) / count
    x, y = (found - a) * weight, (truth - b) * weight
    apart = (x**2).sum(dim=0) + (y**2).sum(dim=0)
    return 2.0 * (x * y).sum(dim=0) / (apart + count * (a - b) ** 2 + _SMALL)


def ccc_loss(found: Tensor, truth: Tensor) -> Tensor:
    """1 - `ccc`, the mean over the dimensions of which at least two values are known."""
    enough = ((~truth.isnan()).sum(dim=0) > 1).to(found.dtype)
    return _mean(1.0 - ccc(found, truth), enough)


class Targets(NamedTuple):
    """What a batch should give; a label space may be in one of the first two, or in neither."""

    labels: Mapping[str, Tensor]
    """Places of the classes `[B]` by label space, -1 where unknown."""
    votes: Mapping[str, Tensor]
    """Votes `[B, classes]` by label space, a row of zeros where unknown."""
    dimensions: Tensor | None = None
    """`[B, dimensions]`, NaN where unknown."""
    speakers: Tensor | None = None
    """Places of the training speakers `[B]`, -1 where unknown, for gradient reversal."""


@dataclass(frozen=True)
class LossSettings:
    """How the parts are weighed."""

    weights: Mapping[str, Tensor] = field(default_factory=dict)
    """Of the classes of a label space, such as `class_weights` gives."""
    gamma: float = 0.0
    """Of the focal loss; 0 is the cross-entropy."""
    smoothing: float = 0.0
    """Of labels that are no votes."""
    spaces: Mapping[str, float] = field(default_factory=dict)
    """Share of each label space; 1 where not given."""
    dimensions: float = 1.0
    """Share of the dimensions."""

    def __post_init__(self) -> None:
        if self.gamma < 0 or not 0.0 <= self.smoothing < 1.0:
            raise DataError(
                f"gamma = {self.gamma:g}, smoothing = {self.smoothing:g}: give a gamma of 0 or "
                "more, and a smoothing from 0 to less than 1"
            )


def multi_loss(
    logits: Mapping[str, Tensor],
    dimensions: Tensor,
    speakers: Tensor | None,
    targets: Targets,
    settings: LossSettings,
) -> Tensor:
    """The sum of the losses of label spaces, dimensions and speakers that there are targets for.

    Args:
        logits: `[B, classes]` by label space.
        dimensions: `[B, dimensions]`.
        speakers: logits of the training speakers behind a reversed gradient, if there are.
        targets: what they should be.
        settings: how the parts are weighed.

    Raises:
        DataError: targets of a label space that the network does not have.
    """
    strangers = sorted({*targets.labels, *targets.votes} - {*logits})
    if strangers:
        raise DataError(
            f"targets of {strangers[0][:40]!r}, which the network has no logits for: leave them "
            "out, or give it such classes"
        )
    total = dimensions.sum() * 0.0
    for space, found in logits.items():
        share, weights = settings.spaces.get(space, 1.0), settings.weights.get(space)
        if space in targets.labels:
            truth = targets.labels[space]
            total = total + share * class_loss(
                found, truth, weights, gamma=settings.gamma, smoothing=settings.smoothing
            )
        if space in targets.votes:
            total = total + share * soft_loss(found, targets.votes[space], weights)
    if targets.dimensions is not None and dimensions.shape[1]:
        total = total + settings.dimensions * ccc_loss(dimensions, targets.dimensions)
    if targets.speakers is not None and speakers is not None:
        total = total + class_loss(speakers, targets.speakers)
    return total


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)
