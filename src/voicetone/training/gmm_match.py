"""Do codes follow the mixture that they were trained to follow?

A classifier is asked to tell codes from samples of the mixture: where it can't, decoded samples of
the mixture are what decoded codes would be. Codes of strangers lie nearer to the middle than those
of the speakers who trained the network; `stretch` takes that back, by what validation speakers
show.

Pure functions of arrays. The classes are taken as known: a code of one class that lies in the
component of another counts against the match of its class, and is a wrong answer of the classifier
besides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voicetone.errors import DataError
from voicetone.models.gmm_aae import Doubles, Mixture

LIMIT = 0.65
"""AUC above which codes are said not to follow their mixture."""
FEWEST = 10
"""Rows of a side below which there is nothing to tell."""
SPLITS = 5
"""Parts of a cross-validation."""
Integers = NDArray[np.int64]
_NEIGHBOURS = 25
_DRAWS = 10  # of the prior: one draw moves the AUC of 170 codes by about 0.04
_POINTS = 6  # quantiles of the stretching; more change nothing on validation speakers
_EACH = 5  # reference codes per quantile
REACHED = 0.5
"""Of a class's training utterances in its own component: with fewer it has not been reached."""
_SAMPLES = 20_000  # of the mixture, for its quantiles


@dataclass(frozen=True)
class Match:
    """How well codes follow their mixture; 0.5 is an AUC without a difference."""

    auc: float
    """Of telling the codes of all classes from as many samples of each class's component, by one
    classifier that is not told the class: whether the cloud as a whole has the right shape."""
    components: dict[str, float]
    """The same within each class; NaN with fewer than ten codes."""
    mean_distance: float
    """Of codes from the middle."""
    prior_distance: float
    """Of samples of the mixture from the middle."""
    limit: float = LIMIT

    within: float = math.nan
    """Mean of the components' AUCs, weighted by their codes: whether each class is at its place."""

    @property
    def fails(self) -> bool:
        """Whether codes can be told from samples, all together or within the classes.

        With too few codes to tell, they can't.
        """
        return self.auc > self.limit or self.within > self.limit


def separability(
    one: Doubles, other: Doubles, seed: int = 0, classes: tuple[Integers, Integers] | None = None
) -> float:
    """AUC of a classifier that tells rows of `one` from rows of `other`: 0.5 means that it can't.

    k nearest neighbours on jointly standardised values, tested on what they were not fitted on and
    averaged over five splits. Where there is no difference the AUC falls below 0.5 as often as
    above; it is given as it is, as the greater of itself and its complement would find a difference
    in every small sample.

    Args:
        one: `[n, d]`.
        other: `[m, d]`; its share among all rows doesn't matter to the AUC.
        seed: of the splits.
        classes: of the rows of both `[n]`, `[m]`, where the counts of each were made alike; see
            `split`.

    Returns:
        The AUC, NaN with fewer than ten rows on a side.

    Raises:
        DataError: the two have other columns, or there are values that are no numbers.
    """
    from sklearn.metrics import roc_auc_score
    from sklearn.neighbors import KNeighborsClassifier

    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1]:
        raise DataError(
            f"arrays of shapes {one.shape} and {other.shape} can't be compared: "
            "give two with one row per case and the same columns"
        )
    if min(len(one), len(other)) < FEWEST:
        return math.nan
    x = np.concatenate([one, other]).astype(np.float64)
    if not np.isfinite(x).all():
        raise DataError(
            f"{int((~np.isfinite(x)).any(1).sum())} of {len(x)} codes to compare are no numbers; "
            "train the network again with a lower learning rate"
        )
    scale = x.std(0)
    x = (x - x.mean(0)) / np.where(scale > 1e-12, scale, 1.0)
    side = np.repeat(np.array([0, 1]), [len(one), len(other)])
    place = split(side, None if classes is None else np.concatenate(classes), seed)
    found = []
    for index in range(SPLITS):
        test = place == index
        model = KNeighborsClassifier(min(_NEIGHBOURS, len(x) // 4)).fit(x[~test], side[~test])
        found.append(roc_auc_score(side[test], model.predict_proba(x[test])[:, 1]))
    return float(np.mean(found))


def split(side: Integers, classes: Integers | None, seed: int) -> Integers:
    """Fold of each row `[n]`, at random, with as many of each side and class in every fold.

    Where both sides were given the same counts of each class, splits that leave the classes to
    chance would find less than nothing: a class of which one side has many in the test part is one
    of which it has few in the training part. 40 codes a side then have an AUC of 0.38 where there
    is no difference. Equal counts of a class are therefore split alike on both sides.

    Args:
        side: which of two sets a row belongs to `[n]`, 0 or 1.
        classes: of the rows `[n]`; none if they are all alike.
        seed: of the order within side and class.
    """
    kinds = np.zeros_like(side) if classes is None else classes
    rng = np.random.default_rng([seed, len(side)])
    found = np.empty(len(side), dtype=np.int64)
    for which in (0, 1):
        start = 0
        for kind in np.unique(kinds).tolist():
            rows = rng.permutation(np.flatnonzero((side == which) & (kinds == kind)))
            found[rows] = (start + np.arange(len(rows))) % SPLITS
            start += len(rows)
    return found


def match(
    codes: Doubles, truth: Integers, labels: Sequence[str], mixture: Mixture, seed: int
) -> Match:
    """Compare codes with samples of the mixture, of the same classes.

    Args:
        codes: `[n, size]`.
        truth: places of their classes in `labels` `[n]`.
        labels: names of the components.
        mixture: what the codes should follow.
        seed: of the samples and of the splits.

    Raises:
        DataError: codes don't fit the mixture, their classes or each other.
    """
    _check(codes, truth, mixture)
    if len(labels) != mixture.classes:
        raise DataError(
            f"{len(labels)} labels for a mixture of {mixture.classes} components; give one each"
        )
    whole, distances = [], []
    parts: dict[str, list[float]] = {label: [] for label in labels}
    for draw in range(_DRAWS):
        prior = mixture.sample(truth, (seed, draw))
        distances.append(_distances(prior).mean())
        whole.append(separability(codes, prior, seed + draw, (truth, truth)))
        for place, label in enumerate(labels):
            mine = truth == place
            parts[label].append(separability(codes[mine], prior[mine], seed + draw))
    components = {label: float(np.mean(aucs)) for label, aucs in parts.items()}
    counts = np.bincount(truth, minlength=mixture.classes)
    known = [(auc, n) for auc, n in zip(components.values(), counts, strict=True) if auc == auc]
    return Match(
        auc=float(np.mean(whole)),
        components=components,
        mean_distance=float(_distances(codes).mean()),
        prior_distance=float(np.mean(distances)),
        within=float(sum(a * n for a, n in known) / sum(n for _, n in known))
        if known
        else math.nan,
    )


def stretch(codes: Doubles, reference: Doubles, truth: Integers, mixture: Mixture) -> Doubles:
    """Move codes along their rays so that reference codes get the mixture's distances.

    Each distance from the middle goes through a strictly increasing map, by which a few quantiles
    of the reference codes' distances become those of the mixture's: as many as a fifth of the
    reference codes, at most six. Between these the map is linear, beyond them proportional. With
    fewer than ten reference codes all distances are scaled by one factor. Directions stay, and a
    code in the middle stays there.

    Args:
        codes: `[n, size]`.
        reference: of speakers who didn't train the network and aren't to be judged `[m, size]`.
        truth: places of the reference codes' classes `[m]`.
        mixture: whose distances.

    Raises:
        DataError: arrays don't fit the mixture, or all reference codes lie in the middle.
    """
    _check(reference, truth, mixture)
    _check(codes, None, mixture)
    count = int(np.clip(len(reference) // _EACH, 1, _POINTS))
    share = (np.arange(count) + 0.5) / count
    classes = truth[np.linspace(0, len(truth) - 1e-9, _SAMPLES).astype(np.int64)]
    wanted = np.quantile(_distances(mixture.sample(classes, (0,))), share)
    found = np.quantile(_distances(reference), share)
    # Equal quantiles, of codes that coincide, would make a step: they become one point.
    points = np.unique(found[found > 0])
    if not len(points):
        raise DataError(
            f"{len(reference)} reference codes lie in the middle, with no distance to stretch: the "
            "network has collapsed; train it again with another seed or a lower learning rate"
        )
    to = np.array([wanted[found == p].mean() for p in points])
    old = _distances(codes)
    new = np.interp(old, points, to)
    new = np.where(old < points[0], old * (to[0] / points[0]), new)
    new = np.where(old > points[-1], old * (to[-1] / points[-1]), new)
    factor = np.divide(new, old, out=np.zeros_like(old), where=old > 0)
    return np.asarray(codes * factor[:, None], dtype=np.float64)


def reached(codes: Doubles, truth: Integers, mixture: Mixture, weights: Doubles) -> Doubles:
    """Share of each class's codes whose likeliest component is its own `[classes]`.

    Of training codes this should be near 1. A network that has left a component empty goes unseen
    among others: its samples of that component are not of the class.

    Args:
        codes: `[n, size]`.
        truth: places of their classes `[n]`; NaN is told of a class without codes.
        mixture: what the codes should follow.
        weights: of the components `[classes]`.
    """
    own = mixture.posterior(codes, weights).argmax(1) == truth
    count = np.bincount(truth, minlength=mixture.classes).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.bincount(truth, own, minlength=mixture.classes) / count


def cautions(match: Match) -> list[str]:
    """A sentence if the codes don't follow their mixture, or if there are too few to tell."""
    if math.isnan(match.auc):
        return [f"whether codes follow the mixture can't be told from fewer than {FEWEST} of them"]
    if not match.fails:
        return []
    ranked = sorted(
        ((auc, label) for label, auc in match.components.items() if not math.isnan(auc)),
        key=lambda pair: -pair[0],
    )
    bad = [pair for pair in ranked if pair[0] > match.limit] or ranked[:1]
    named = ", ".join(f"{label} ({auc:.2f})" for auc, label in bad[:3])
    within = "" if math.isnan(match.within) else f" and {match.within:.2f} within the classes"
    return [
        "failed: codes of strangers don't follow the mixture; they can be told from its samples "
        f"with an AUC of {match.auc:.2f} all together{within} (0.5: not at all, limit "
        f"{match.limit:.2f})"
        + (f", worst in {named}" if named else "")
        + f", and their mean distance from the middle is {match.mean_distance:.2f}, of samples "
        f"{match.prior_distance:.2f}"
    ]


def _distances(codes: Doubles) -> Doubles:
    return np.asarray(np.linalg.norm(codes, axis=1), dtype=np.float64)


def _check(codes: Doubles, truth: Integers | None, mixture: Mixture) -> None:
    if codes.ndim != 2 or codes.shape[1] != mixture.size:
        raise DataError(
            f"codes of shape {codes.shape} don't fit a mixture in {mixture.size} dimensions; give "
            "one row per utterance, as the mixture's network encodes it"
        )
    if not np.isfinite(codes).all():
        raise DataError(
            f"{int((~np.isfinite(codes)).any(1).sum())} of {len(codes)} codes are no numbers; "
            "train the network again with a lower learning rate"
        )
    if truth is None:
        return
    if not len(codes) or truth.shape != (len(codes),):
        raise DataError(
            f"{len(codes)} codes with {truth.size} classes; give one class per code, and one code "
            "at least"
        )
    if truth.min() < 0 or truth.max() >= mixture.classes:
        raise DataError(
            f"classes from {truth.min()} to {truth.max()} for a mixture of {mixture.classes} "
            "components; leave utterances without a label out"
        )
