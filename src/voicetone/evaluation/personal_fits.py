"""How one speaker's clips change a model's probabilities: the arithmetic.

Every method gives an affine map of centred log-probabilities. All arrays may have leading axes, so
that many speakers are fitted at once; a clip's weight is 1, or 0 where a speaker has fewer clips
than the others. `strength` is a pseudo-count: that many clips that say "no change" are added to the
speaker's own, so few clips change little, and an infinite one changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Codes = NDArray[np.int64]

LEAST = 1e-6
"""Probabilities below this are taken for it: one clip's zero would outweigh all others."""
MOST_BIAS = 6.0  # nats; no bias is larger
FACTORS = (0.1, 10.0)
"""Bounds of what log-probabilities are multiplied by."""
ROUNDS = 40
STEPS = 20
SMALLEST = 1e-9


@dataclass(frozen=True, eq=False)
class Map:
    """Log-probabilities z become `weights` z + `bias`; a softmax makes probabilities of them.

    Args:
        weights: `[..., labels, labels]`.
        bias: `[..., labels]`.
    """

    weights: Values
    bias: Values


@dataclass(frozen=True, eq=False)
class Others:
    """What a model says of other speakers, which a speaker's own clips are held against.

    Args:
        shares: mean probabilities `[..., labels]`.
        logs: mean centred log-probabilities `[..., labels]`.
        centres: the same over the clips of each true label (rows) `[..., labels, labels]`.
        spread: mean squared distance of a clip to its label's centre, per label `[...]`.
    """

    shares: Values
    logs: Values
    centres: Values
    spread: Values


@dataclass(frozen=True, eq=False)
class Clips:
    """Enrolment: `logs` `[..., n, labels]`, `weights` `[..., n]`, `truth` `[..., n]` if known."""

    logs: Values
    weights: Values
    truth: Codes | None = None


def centred(probabilities: NDArray[np.floating]) -> Values:
    """Log-probabilities less their mean over the labels `[..., labels]`."""
    logs = np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), LEAST))
    return np.asarray(logs - logs.mean(-1, keepdims=True))


def softmax(logs: Values) -> Values:
    """Probabilities of unnormalised logarithms `[..., labels]`."""
    raised = np.exp(logs - logs.max(-1, keepdims=True))
    return np.asarray(raised / raised.sum(-1, keepdims=True))


def centre(clips: Clips, others: Others, strength: float) -> Map:
    """Each label's mean logarithm becomes that of the other speakers.

    What taking off a speaker's mean is to features, on the outputs.
    """
    own = _mean(clips.logs, clips.weights)
    return _shift((others.logs - own) * _share(clips, strength))


def match(clips: Clips, others: Others, strength: float) -> Map:
    """The bias by which the mean probabilities become those of the other speakers.

    Heiser, Allikivi and Kull, "Shift happens: adjusting classifiers" (ECML PKDD 2020), there for
    a class distribution that is known; here for that of the model's own outputs elsewhere.
    """
    wanted = np.log(np.maximum(others.shares, LEAST))
    bias = np.zeros(np.broadcast_shapes(wanted.shape, clips.logs[..., 0, :].shape))
    for _ in range(ROUNDS):
        said = _mean(softmax(clips.logs + bias[..., None, :]), clips.weights)
        bias = bias + wanted - np.log(np.maximum(said, LEAST))
        bias = np.clip(bias - bias.mean(-1, keepdims=True), -MOST_BIAS, MOST_BIAS)
    return _shift(bias * _share(clips, strength))


def prior(clips: Clips, others: Others, strength: float) -> Map:
    """How often this speaker's clips have each label, by EM; the opposite of `match`.

    Saerens, Latinne and Decaestecker, "Adjusting the outputs of a classifier to new a priori
    probabilities" (Neural Computation, 2002). It believes the model where it says that a speaker is
    often angry; `match` takes that for a trait of the voice.
    """
    old = np.maximum(others.shares, LEAST)
    shape = np.broadcast_shapes(old.shape, clips.logs[..., 0, :].shape)
    if np.isinf(strength):
        return _shift(np.zeros(shape))
    cases = clips.weights.sum(-1)[..., None]
    new = np.broadcast_to(old, shape)
    for _ in range(ROUNDS):
        said = softmax(clips.logs + np.log(new / old)[..., None, :])
        new = (_mean(said, clips.weights) * cases + strength * old) / (cases + strength)
        new = np.maximum(new, LEAST)
    return _shift(np.log(new / old))


def bias(clips: Clips, others: Others, strength: float) -> Map:
    """From labelled clips: a factor for all labels and a bias for each, by penalised likelihood.

    Bias-corrected temperature scaling (Alexandari, Kundaje and Shrikumar, ICML 2020), with a
    Gaussian prior around no change whose precision is `strength`.
    """
    labels = clips.logs.shape[-1]
    lead = clips.logs.shape[:-2]
    at = np.zeros((*lead, labels + 1))
    at[..., 0] = 1.0
    if np.isinf(strength):
        return Map(_scaled(at[..., 0], labels), at[..., 1:])
    rest = at.copy()
    right = _one_hot(clips, labels)
    for _ in range(STEPS):
        slope, curve = _slopes(clips, right, at)
        slope = slope + strength * (at - rest)
        curve = curve + strength * np.eye(labels + 1)
        step = np.linalg.solve(curve, slope[..., None])[..., 0]
        longest = np.abs(step).max(-1, keepdims=True)
        at = at - step / np.maximum(longest, 1.0)  # a long step of Newton's may overshoot
        if longest.max() < SMALLEST:
            break
    factor = np.clip(at[..., 0], *FACTORS)
    return Map(_scaled(factor, labels), np.clip(at[..., 1:], -MOST_BIAS, MOST_BIAS))


def means(clips: Clips, others: Others, strength: float) -> Map:
    """From labelled clips: the nearest of the speaker's own label means, mixed with the model.

    Means are those of the other speakers moved towards the speaker's clips, as in MAP adaptation
    (Gauvain and Lee, IEEE Trans. SAP 1994); distances are Euclidean, as in prototypical networks
    (Snell, Swersky and Zemel, NeurIPS 2017), over the other speakers' spread. Their part in the
    mixture of logarithms grows with the number of clips.
    """
    labels = clips.logs.shape[-1]
    part = _share(clips, strength)[..., None]
    if np.isinf(strength):
        lead = clips.logs.shape[:-2]
        return Map(_scaled(np.ones(lead), labels), np.zeros((*lead, labels)))
    right = _one_hot(clips, labels)
    sums = np.swapaxes(right, -1, -2) @ clips.logs
    cases = right.sum(-2)[..., None]
    middle = (sums + strength * others.centres) / (cases + strength)
    wide = np.maximum(others.spread, SMALLEST)[..., None, None]
    towards = middle / wide
    away = -(middle**2).sum(-1) / (2 * wide[..., 0])
    away = away - away.mean(-1, keepdims=True)
    return Map((1 - part) * np.eye(labels) + part * towards, part[..., 0] * away)


Method = Callable[[Clips, Others, float], Map]
UNLABELLED: dict[str, Method] = {"centre": centre, "match": match, "prior": prior}
LABELLED: dict[str, Method] = {"bias": bias, "means": means}
METHODS = UNLABELLED | LABELLED


def _mean(values: Values, weights: Values) -> Values:
    """Over clips; zeros where there are none."""
    total = weights.sum(-1)[..., None]
    return np.asarray((values * weights[..., None]).sum(-2) / np.maximum(total, SMALLEST))


def _share(clips: Clips, strength: float) -> Values:
    """The speaker's part against the pseudo-count `[..., 1]`."""
    cases = clips.weights.sum(-1)[..., None]
    return np.asarray(cases / np.maximum(cases + strength, SMALLEST))


def _shift(by: Values) -> Map:
    kept = np.clip(by - by.mean(-1, keepdims=True), -MOST_BIAS, MOST_BIAS)
    return Map(_scaled(np.ones(by.shape[:-1]), by.shape[-1]), kept)


def _scaled(factor: Values, labels: int) -> Values:
    return np.asarray(factor[..., None, None] * np.eye(labels))


def _one_hot(clips: Clips, labels: int) -> Values:
    """The clips' labels, each row times its clip's weight `[..., n, labels]`."""
    if clips.truth is None:
        raise ValueError("this method needs the clips' labels")
    return np.asarray(np.eye(labels)[clips.truth] * clips.weights[..., None])


def _slopes(clips: Clips, right: Values, at: Values) -> tuple[Values, Values]:
    """Gradient and Hessian of the clips' loss by the factor (first) and the biases."""
    z, w = clips.logs, clips.weights[..., None]
    said = softmax(at[..., None, :1] * z + at[..., None, 1:])
    off = said * w - right
    labels = z.shape[-1]
    slope = np.concatenate([(off * z).sum((-1, -2))[..., None], off.sum(-2)], axis=-1)
    curve = np.empty((*at.shape, labels + 1))
    mean = (said * z).sum(-1, keepdims=True)
    curve[..., 0, 0] = (w * ((said * z**2).sum(-1, keepdims=True) - mean**2)).sum((-1, -2))
    cross = (w * said * (z - mean)).sum(-2)
    curve[..., 0, 1:] = curve[..., 1:, 0] = cross
    weighted = said * w
    total = weighted.sum(-2)[..., None] * np.eye(labels)
    curve[..., 1:, 1:] = total - np.swapaxes(weighted, -1, -2) @ said
    return slope, curve
