"""Can synthetic feature vectors be told from real ones, and are they copies?

Four views, none of which is enough alone: two-sample tests against real vectors of speakers held
out, distances to the vectors of training, each feature's distribution, and whether a classifier of
real vectors gives synthetic ones the class that they were drawn for.

Speakers differ, too: real vectors of the training speakers can be told from those of held-out
speakers. The same test with them in the place of the synthetic ones is what those are to be
measured by. Its probabilities take vectors for independent, which several of one speaker are not,
so a small one says less than it seems to.

Pure functions of arrays; all vectors are of one normalised space.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voicetone.errors import DataError
from voicetone.evaluation.metrics import uar
from voicetone.models.gmm_aae import Doubles
from voicetone.training.gmm_match import FEWEST, SPLITS, Integers, split

LEVEL = 0.05
"""Of tests, and of the share of false finds among features that are said to differ."""
COPIED = 0.05
"""Share of copies above which vectors are said to be memorised; of new ones it is 0.01 or less."""
_MOST = 1000  # rows of a set in tests of pairs, whose cost grows with the square
_COMPONENTS = 40
_SHUFFLES = 999  # so that the least p is 0.001
_RIDGE = 0.05  # of the number of rows
_EACH = 20  # rows per principal component of the two-sample test
_CLASS_COMPONENTS = 100
_NEAREST = 0.01  # quantile of the real distances below which a vector is too near
_ALONE = 0.5  # of the distance to the second nearest: smooth vectors don't come below it
_SAME = 1e-6  # share of a typical distance below which two vectors are one
Names = NDArray[np.str_]


@dataclass(frozen=True)
class Apart:
    """How well one set can be told from held-out real vectors, with equal counts of each class."""

    rows: int
    """Of each set."""
    auc: float
    """Of a cross-validated linear classifier; 0.5: not at all."""
    accuracy: float
    p: float
    """Probability of that AUC or a greater one without a difference: share of 1,000 orders of the
    labels, shuffled within classes."""
    neighbours: float
    """Share whose nearest neighbour is of the own set: 0.5 or a little less without a difference,
    1 for sets apart, near 0 for copies of the other set."""
    neighbours_own: float
    """The same of the set alone: great where it is narrower than the real one."""
    neighbours_held_out: float
    """The same of the held-out real vectors alone."""
    ks_median: float
    """Median over the features of the Kolmogorov–Smirnov statistic; 0: the same distribution."""
    ks_high: float
    """Its 90th percentile."""
    ks_rejected: float
    """Share of features that differ, after Benjamini and Hochberg at a level of 0.05."""
    variance_ratio: float
    """Median over the features of the set's variance to the held-out one."""


@dataclass(frozen=True)
class Closeness:
    """Distances to the nearest training vector, and among the vectors themselves."""

    ratio: float
    """Median of synthetic vectors to the median of held-out real ones. Below 1 is no proof of
    copies: smooth vectors lie nearer to all others."""
    too_near: float
    """Share of synthetic vectors nearer than the nearest 1 % of held-out real ones."""
    nearest_to_second: float
    """Median of the distance to the nearest to that to the second nearest: near 1 for new vectors,
    smooth ones included, near 0 for copies."""
    real_nearest_to_second: float
    """The same of held-out real vectors."""
    copied: float
    """Share of synthetic vectors that are too near to a training vector and at less than half
    their distance to any other, and less than the lowest 1 % of held-out real ones in this, too.
    A copy of a vector that training has twice, nearly the same, counts as too near alone."""
    spread: float
    """Mean distance between nearest neighbours among synthetic vectors."""
    real_spread: float
    """The same among as many real ones of training, of the same classes."""

    @property
    def memorised(self) -> bool:
        """Whether more than a few synthetic vectors are copies of training vectors."""
        return self.copied > COPIED


@dataclass(frozen=True)
class Classes:
    """A classifier's answers that was trained on the real vectors of training."""

    recalls: dict[str, float]
    """Share of synthetic vectors of each class that are taken for it."""
    uar: float
    """Mean of these; NaN where training has one class alone."""
    held_out_uar: float
    """Of held-out real vectors."""
    chance: float


@dataclass(frozen=True)
class Quality:
    """All views; `dataclasses.asdict` makes it fit for JSON."""

    synthetic: Apart
    real: Apart
    """Real vectors of training in the place of synthetic ones."""
    closeness: Closeness
    classes: Classes


def quality(
    synthetic: Doubles,
    labels_s: Sequence[str],
    real_train: Doubles,
    real_held_out: Doubles,
    labels_t: Sequence[str],
    labels_h: Sequence[str],
    seed: int,
) -> Quality:
    """Compare synthetic vectors with real ones.

    Args:
        synthetic: `[n, features]`.
        labels_s: the classes that they were drawn for `[n]`.
        real_train: of the speakers who trained the network `[m, features]`.
        real_held_out: of others `[k, features]`.
        labels_t: classes of `real_train`.
        labels_h: classes of `real_held_out`.
        seed: of the choice of rows and of splits.

    Raises:
        DataError: arrays don't fit each other, have fewer than ten rows (of classes that they
            share), values that are no numbers or no variance, or classes that training lacks.
    """
    sets = {"synthetic": synthetic, "training": real_train, "held-out": real_held_out}
    names = {
        name: np.asarray(labels).astype(np.str_)
        for name, labels in zip(sets, (labels_s, labels_t, labels_h), strict=True)
    }
    _check(sets, names)
    s, t, h = (x.astype(np.float64) for x in sets.values())
    of_s, of_t, of_h = names.values()
    return Quality(
        synthetic=_apart(s, h, of_s, of_h, "synthetic and held-out", seed),
        real=_apart(t, h, of_t, of_h, "training and held-out", seed),
        closeness=_closeness(s, t, h, of_s, of_t, seed),
        classes=_classes(s, t, h, of_s, of_t, of_h, seed),
    )


def _check(sets: dict[str, Doubles], names: dict[str, Names]) -> None:
    for name, x in sets.items():
        if x.ndim != 2 or x.shape[1] != sets["training"].shape[-1] or not x.shape[1]:
            raise DataError(
                f"{name} vectors of shape {x.shape} beside training vectors of shape "
                f"{sets['training'].shape}; give one row per utterance and the same features"
            )
        if names[name].shape != (len(x),):
            raise DataError(
                f"{len(x)} {name} vectors with {names[name].size} labels; give one label each"
            )
        if len(x) < FEWEST:
            raise DataError(
                f"{len(x)} {name} vectors are too few to judge synthetic ones by; give {FEWEST} "
                "at least"
            )
        if not np.isfinite(x).all():
            raise DataError(
                f"{int((~np.isfinite(x)).any(1).sum())} of {len(x)} {name} vectors have values "
                "that are no numbers; leave these out"
            )
    for name in ("training", "held-out"):
        if not (sets[name].std(0) > 0).any():
            raise DataError(f"all {name} vectors are the same; check the features")
    for name in ("synthetic", "held-out"):
        unknown = sorted(set(names[name].tolist()) - set(names["training"].tolist()))
        if unknown:
            raise DataError(
                f"{name} vectors have classes without a training vector: {', '.join(unknown)}; "
                "leave these out"
            )


def _matched(one: Names, other: Names, which: str, seed: int) -> tuple[Integers, Integers]:
    """Rows of two sets with equal counts of each class, as many as both have."""
    rng = np.random.default_rng([seed, 1])
    found: list[list[Integers]] = [[], []]
    shared = np.intersect1d(one, other).tolist()
    counts = {c: min(int((one == c).sum()), int((other == c).sum())) for c in shared}
    total = sum(counts.values())
    for label in shared:
        count = counts[label] if total <= _MOST else round(counts[label] * _MOST / total)
        for rows, names in zip(found, (one, other), strict=True):
            rows.append(rng.permutation(np.flatnonzero(names == label))[:count])
    if total < FEWEST:
        raise DataError(
            f"{total} pairs of {which} vectors of the same class are too few to "
            f"compare; give {FEWEST} at least"
        )
    return np.concatenate(found[0]), np.concatenate(found[1])


def _apart(
    x: Doubles, held_out: Doubles, names: Names, held_out_names: Names, which: str, seed: int
) -> Apart:
    mine, others = _matched(names, held_out_names, which, seed)
    one, other = x[mine], held_out[others]
    side = np.repeat(np.array([0, 1]), len(one))
    classes = np.unique(np.concatenate([names[mine], held_out_names[others]]), return_inverse=True)
    both = np.concatenate([one, other])
    told = _told(both, side, classes[1].astype(np.int64), seed)
    near = side[_nearest(both, both, 1, own=True)[1][:, 0]] == side
    return Apart(
        len(one),
        *told,
        neighbours=float(near.mean()),
        neighbours_own=float(near[side == 0].mean()),
        neighbours_held_out=float(near[side == 1].mean()),
        **_features(one, other),
    )


def _told(x: Doubles, side: Integers, classes: Integers, seed: int) -> tuple[float, float, float]:
    """AUC, accuracy and p of a linear classifier that is to name the side of each row.

    It is a regularised linear discriminant: one solution of its equations serves all shuffled
    labels at once, so that p can be exact. That of a binomial test takes the answers of a
    cross-validation for independent and tends to be too small.
    """
    seen = _view(x, seed)
    place = split(side, classes, seed)
    labels = _shuffled(side, len(x) * classes + place, seed)
    aucs, right = [], []
    for index in range(SPLITS):
        test = place == index
        mean, scale = seen[~test].mean(0), seen[~test].std(0)
        scaled = (seen - mean) / np.where(scale > 1e-12, scale, 1.0)
        gram = scaled[~test].T @ scaled[~test]
        gram += _RIDGE * float((~test).sum()) * np.eye(len(gram))
        middle = labels[~test].mean(0)
        weights = np.linalg.solve(gram, scaled[~test].T @ (labels[~test] - middle))
        values = scaled[test] @ weights + middle
        aucs.append(_aucs(values, labels[test]))
        right.append((values[:, 0] > 0.5) == side[test])
    found = np.mean(aucs, axis=0)
    p = float((found >= found[0] - 1e-12).mean())  # the true labels are one of the orders
    return float(found[0]), float(np.concatenate(right).mean()), p


def _shuffled(side: Integers, groups: Integers, seed: int) -> Doubles:
    """The sides and, in the further columns, shuffles of them within groups `[n, 1 + shuffles]`."""
    rng = np.random.default_rng([seed, 3])
    found = np.repeat(side[:, None].astype(np.float64), 1 + _SHUFFLES, axis=1)
    for group in np.unique(groups).tolist():
        rows = np.flatnonzero(groups == group)
        found[rows, 1:] = rng.permuted(found[rows, 1:], axis=0)
    return found


def _aucs(values: Doubles, labels: Doubles) -> Doubles:
    """AUC of each column `[columns]`, from the ranks."""
    from scipy.stats import rankdata

    ones = labels.sum(0)
    ranks = (rankdata(values, axis=0) * labels).sum(0)
    return np.asarray((ranks - ones * (ones + 1) / 2) / (ones * (len(labels) - ones)))


def _view(x: Doubles, seed: int) -> Doubles:
    """Principal components, their squares, and how much they leave of each row.

    A linear classifier sees differences of the mean in the first, of the variance in the second.
    What decoders leave out is mostly in the third: it is the length of the remainder.
    """
    model = _components(x, min(_COMPONENTS, max(2, len(x) // _EACH)), seed)
    scores = model.transform(x)
    rest = np.linalg.norm(x - model.inverse_transform(scores), axis=1)
    scores /= np.maximum(scores.std(0), 1e-12)
    floor = max(1e-9 * float(np.linalg.norm(x - x.mean(0), axis=1).max()), 1e-300)
    return np.column_stack([scores, scores**2, np.log(np.maximum(rest, floor))])


def _components(x: Doubles, count: int, seed: int) -> Any:
    from sklearn.decomposition import PCA

    return PCA(min(count, *x.shape), svd_solver="randomized", random_state=seed).fit(x)


def _nearest(x: Doubles, among: Doubles, count: int, own: bool = False) -> tuple[Doubles, Integers]:
    """Distances and places of the `count` nearest rows `[n, count]`, without the row itself."""
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(among)
    distances, places = found.kneighbors(None if own else x)
    return distances, places


def _features(one: Doubles, other: Doubles) -> dict[str, float]:
    """What `Apart` tells of single features; those that never vary are left out."""
    from scipy.stats import false_discovery_control, ks_2samp

    varying = np.flatnonzero((np.ptp(one, 0) > 0) | (np.ptp(other, 0) > 0))
    found = [ks_2samp(one[:, i], other[:, i], method="asymp") for i in varying.tolist()]
    statistics = np.array([r.statistic for r in found])
    rejected = false_discovery_control([r.pvalue for r in found]) < LEVEL
    real = other.var(0)
    wide = real > 0
    return {
        "ks_median": float(np.median(statistics)),
        "ks_high": float(np.quantile(statistics, 0.9)),
        "ks_rejected": float(rejected.mean()),
        "variance_ratio": float(np.median(one.var(0)[wide] / real[wide])),
    }


def _closeness(
    s: Doubles, t: Doubles, h: Doubles, of_s: Names, of_t: Names, seed: int
) -> Closeness:
    rng = np.random.default_rng([seed, 2])
    some = s[rng.permutation(len(s))[:_MOST]]
    distances = {name: _nearest(x, t, 2)[0] for name, x in (("s", some), ("h", h))}
    same = _SAME * float(np.median(distances["h"][:, 1]))
    first = {name: np.where(d[:, 0] > same, d[:, 0], 0.0) for name, d in distances.items()}
    ratio = {
        name: first[name] / np.maximum(d[:, 1], max(same, 1e-300)) for name, d in distances.items()
    }
    near = first["s"] < np.quantile(first["h"], _NEAREST)
    alone = ratio["s"] < min(_ALONE, np.quantile(ratio["h"], _NEAREST))
    mine, theirs = _matched(of_s, of_t, "synthetic and training", seed)
    middle = float(np.median(first["h"]))
    return Closeness(
        ratio=float(np.median(first["s"])) / middle if middle else math.nan,
        too_near=float(near.mean()),
        nearest_to_second=float(np.median(ratio["s"])),
        real_nearest_to_second=float(np.median(ratio["h"])),
        copied=float((near & alone).mean()),
        spread=float(_nearest(s[mine], s[mine], 1, own=True)[0].mean()),
        real_spread=float(_nearest(t[theirs], t[theirs], 1, own=True)[0].mean()),
    )


def _classes(
    s: Doubles, t: Doubles, h: Doubles, of_s: Names, of_t: Names, of_h: Names, seed: int
) -> Classes:
    from sklearn.linear_model import LogisticRegression

    labels = np.unique(of_t)
    if len(labels) < 2:
        return Classes({}, math.nan, math.nan, 1.0)
    components = _components(t, _CLASS_COMPONENTS, seed)
    train = components.transform(t)
    length = float(np.sqrt((train**2).sum(1).mean()))
    model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=2000)
    model.fit(train / length, np.searchsorted(labels, of_t))
    said = {k: model.predict(components.transform(x) / length) for k, x in (("s", s), ("h", h))}
    truth = {"s": np.searchsorted(labels, of_s), "h": np.searchsorted(labels, of_h)}
    recalls = {
        str(labels[c]): float((said["s"][truth["s"] == c] == c).mean())
        for c in np.unique(truth["s"]).tolist()
    }
    return Classes(recalls, uar(truth["s"], said["s"]), uar(truth["h"], said["h"]), 1 / len(labels))


def words(quality: Quality) -> list[str]:
    """Sentences on each view, for a list in Markdown."""
    return [
        _words_apart(quality.synthetic, quality.real),
        _words_neighbours(quality.synthetic, quality.real),
        _words_features(quality.synthetic, quality.real),
        *_words_closeness(quality.closeness),
        *_words_classes(quality.classes),
    ]


def _words_apart(s: Apart, real: Apart) -> str:
    if s.p >= LEVEL:
        verdict = "can't tell synthetic vectors from real ones of held-out speakers"
    elif s.auc <= real.auc:
        verdict = (
            "tells synthetic vectors from real ones of held-out speakers no better than real ones "
            "of the training speakers"
        )
    else:
        verdict = "tells synthetic vectors from real ones of held-out speakers"
    return (
        f"A classifier {verdict}: AUC {s.auc:.2f}, accuracy {100 * s.accuracy:.0f} % on "
        f"{s.rows} of each (0.5 and 50 %: not at all; {_p(s.p)}). For real vectors of the "
        f"training speakers in their place: AUC {real.auc:.2f}, {100 * real.accuracy:.0f} %."
    )


def _words_neighbours(s: Apart, real: Apart) -> str:
    if s.neighbours_own > 0.75 and s.neighbours_held_out < 0.5:
        meaning = "; synthetic ones crowd together amid the real ones"
    elif s.neighbours < 0.35:
        meaning = "; below a half: they follow single real vectors"
    else:
        meaning = ""
    return (
        f"The nearest neighbour is of the same kind for {100 * s.neighbours_own:.0f} % of "
        f"synthetic and {100 * s.neighbours_held_out:.0f} % of held-out real vectors (50 %: no "
        f"difference; together {100 * s.neighbours:.0f} %, with real vectors of training "
        f"{100 * real.neighbours:.0f} %){meaning}."
    )


def _words_features(s: Apart, real: Apart) -> str:
    width = "as wide as real ones"
    if not 0.8 <= s.variance_ratio <= 1.25:
        width = "narrower than real ones" if s.variance_ratio < 1 else "wider than real ones"
    return (
        f"Of the features {100 * s.ks_rejected:.0f} % are distributed otherwise than among "
        f"held-out real vectors (Kolmogorov–Smirnov: median {s.ks_median:.2f}, 90th percentile "
        f"{s.ks_high:.2f}; real vectors of training: {100 * real.ks_rejected:.0f} %, "
        f"{real.ks_median:.2f}, {real.ks_high:.2f}); synthetic features are {width}: the median "
        f"ratio of variances is {s.variance_ratio:.2f} (of training: {real.variance_ratio:.2f})."
    )


def _words_closeness(c: Closeness) -> list[str]:
    verdict = (
        "Synthetic vectors are copies of training vectors"
        if c.memorised
        else "Synthetic vectors are no copies of training vectors"
    )
    near = (
        f"their distance to the nearest training vector is {c.ratio:.2f} times that of held-out "
        f"real vectors (medians), {100 * c.too_near:.0f} % are nearer than the nearest 1 % of these"
    )
    spread = "as far apart as real ones"
    if c.spread < 0.8 * c.real_spread:
        spread = "nearer to each other than real ones"
    elif c.spread > 1.25 * c.real_spread:
        spread = "further apart than real ones"
    return [
        f"{verdict}: {100 * c.copied:.0f} % lie far nearer to one of them than new real vectors "
        f"do and than to any other (limit {100 * COPIED:.0f} %); {near}. The nearest lies at "
        f"{c.nearest_to_second:.2f} of the distance to the second nearest (held-out real vectors: "
        f"{c.real_nearest_to_second:.2f}; copies: near 0).",
        f"Synthetic vectors lie {spread}: the mean distance between nearest neighbours is "
        f"{c.spread:.2f}, among as many real ones of training {c.real_spread:.2f}.",
    ]


def _words_classes(c: Classes) -> list[str]:
    if math.isnan(c.uar):
        return []
    each = ", ".join(f"{label} {100 * share:.0f} %" for label, share in c.recalls.items())
    lost = ", ".join(label for label, share in c.recalls.items() if share <= c.chance)
    meaning = f"; samples of {lost} are not what they were drawn for" if lost else ""
    return [
        f"A classifier trained on real vectors takes synthetic ones for the class that they were "
        f"drawn for with a UAR of {100 * c.uar:.0f} % ({each}); held-out real vectors: "
        f"{100 * c.held_out_uar:.0f} %, chance: {100 * c.chance:.0f} %{meaning}."
    ]


def _p(value: float) -> str:
    return f"p = {value:.2f}" if value >= 0.095 else f"p = {value:.1g}"
