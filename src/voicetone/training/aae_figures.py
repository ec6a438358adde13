"""Figures of autoencoders: their training curves, and their style codes in two dimensions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voicetone.errors import DataError, MissingExtraError
from voicetone.evaluation.figures import BLUE, GREY, ORANGE, STYLE, save
from voicetone.models.aae import CHANCE
from voicetone.types import Floats

# Okabe and Ito's colours, told apart by the colour-blind; yellow is too pale on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = ("o", "^", "s", "D", "v")
_MOST = len(COLOURS) * len(MARKERS)

_PANELS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    (
        "discriminators",
        "cross-entropy",
        (("discriminator_y", "of y"), ("discriminator_z", "of z")),
    ),
    (
        "reconstruction",
        "mean squared error",
        (
            ("reconstruction", "training (with dropout)"),
            ("validation_reconstruction", "validation (without)"),
        ),
    ),
    (
        "classification",
        "cross-entropy",
        (
            ("classification", "training (with dropout)"),
            ("validation_loss", "validation (without)"),
        ),
    ),
    ("validation UAR", "UAR", (("uar", ""),)),
    ("entropy of mean y", "share of the greatest", (("y_entropy", ""),)),
    ("SD of z", "mean over dimensions", (("z_sd", ""),)),
)


def draw_curves(run: Path, folder: Path | None = None) -> list[Path]:
    """Draw the training curves of a system: mean and range over its replicas.

    Args:
        run: `OUT/TARGET/SYSTEM`, with `curves/*.json`.
        folder: where `curves.png` and `curves.pdf` go; `run` if not given.

    Raises:
        DataError: there are no curves.
        MissingExtraError: matplotlib is not installed.
    """
    read = [json.loads(p.read_text("utf-8")) for p in sorted((run / "curves").glob("*.json"))]
    if not read:
        raise DataError(f"{run}: no training curves here; name OUT/TARGET/SYSTEM of an aae run")
    found = {name: _stacked([r[name] for r in read if name in r]) for name in _names()}
    panels = [p for p in _PANELS if any(found[name].size for name, _ in p[2])]
    return _figure(
        (2.9 * min(3, len(panels)), 2.4 * -(-len(panels) // 3)),
        lambda figure: _curves(figure, panels, found, len(read)),
        folder or run,
        "curves",
    )


def _names() -> list[str]:
    return [name for _, _, lines in _PANELS for name, _ in lines]


def _stacked(curves: Sequence[Sequence[float | None]]) -> NDArray[np.float64]:
    """`[replicas, epochs]`, NaN where a curve has no number."""
    longest = max((len(c) for c in curves), default=0)
    out = np.full((len(curves), longest), np.nan)
    for row, curve in zip(out, curves, strict=True):
        row[: len(curve)] = [np.nan if v is None else v for v in curve]
    return out


def _curves(
    figure: Any, panels: Sequence[Any], found: dict[str, NDArray[np.float64]], count: int
) -> None:
    grid = figure.subplots(-(-len(panels) // 3), min(3, len(panels)), squeeze=False).ravel()
    for axes, (title, unit, lines) in zip(grid, panels, strict=False):
        drawn = [(found[name], word) for name, word in lines if found[name].size]
        for (curves, word), colour in zip(drawn, (BLUE, ORANGE), strict=False):
            kept = curves[:, ~np.isnan(curves).all(0)]
            epochs = 1 + np.flatnonzero(~np.isnan(curves).all(0))
            low, high = np.nanmin(kept, 0), np.nanmax(kept, 0)
            axes.fill_between(epochs, low, high, color=colour, alpha=0.18, linewidth=0)
            axes.plot(epochs, np.nanmean(kept, 0), color=colour, label=word or None)
        if title == "discriminators":
            axes.axhline(CHANCE, color=GREY, linestyle="--", linewidth=1, label="ln 2: can't tell")
        elif title == "SD of z":
            axes.axhline(1, color=GREY, linestyle="--", linewidth=1, label="the prior's")
        axes.set_ylim(bottom=0)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_ylabel(unit)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(frameon=False, fontsize=7.5)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    figure.suptitle(f"line: mean of {count} replicas; shaded: their range", fontsize=8)


def draw_codes(
    z: Floats,
    columns: Sequence[tuple[str, Sequence[str]]],
    known: NDArray[np.bool_],
    folder: Path,
    title: str,
) -> list[Path]:
    """Draw the style codes of one network in two dimensions, once for each column.

    The axes are the first two principal components, and, where the first column has three classes
    or more, those that part them best (LDA, fitted on the speakers that trained the network).

    Args:
        z: `[n, style]`.
        columns: names and their values `[n]` that give the colours; emotion first.
        known: utterances of speakers who trained the network `[n]`; the others are ringed.
        folder: where `z-pca` and `z-lda` go as PNG and PDF.
        title: which network.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    files = []
    for name, places, words in _projections(z, np.array(columns[0][1]), known):

        def paint(figure: Any, at: NDArray[np.float64] = places, said: Any = words) -> None:
            row = figure.subplots(1, len(columns))
            for axes, (column, values) in zip(row, columns, strict=True):
                _scatter(axes, at, np.array(values), known)
                axes.set(xlabel=said[0], ylabel=said[1], title=f"z by {column}")
                axes.title.set_fontsize(9)
            figure.suptitle(f"{title}; ringed: speakers it was not trained on", fontsize=8)

        files += _figure((4.6 * len(columns), 4.6), paint, folder, name)
    return files


def _projections(
    z: Floats, classes: NDArray[np.str_], known: NDArray[np.bool_]
) -> list[tuple[str, NDArray[np.float64], tuple[str, str]]]:
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    x = z.astype(np.float64)
    if x.shape[1] < 2 or not x.std(0).max() > 1e-6:  # collapsed: there is nothing to see
        return []
    pca = PCA(2).fit(x)
    share = 100 * pca.explained_variance_ratio_
    named = [f"component {i} ({s:.0f} % of the variance)" for i, s in enumerate(share, 1)]
    found = [("z-pca", pca.transform(x), (named[0], named[1]))]
    if len(set(classes[known].tolist())) > 2:
        lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto")
        lda.fit(x[known], classes[known])
        found.append(("z-lda", lda.transform(x)[:, :2], ("discriminant 1", "discriminant 2")))
    return found


def _scatter(
    axes: Any, at: NDArray[np.float64], values: NDArray[np.str_], known: NDArray[np.bool_]
) -> None:
    count = Counter(values.tolist())
    shown = sorted(v for v, _ in count.most_common(_MOST if len(count) <= _MOST else _MOST - 1))
    rest = ~np.isin(values, shown)
    if rest.any():
        label = f"{len(count) - len(shown)} others"
        axes.scatter(*at[rest].T, s=8, color=GREY, alpha=0.4, linewidths=0, label=label)
    for index, value in enumerate(shown):
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index // len(COLOURS)]
        here = values == value
        axes.scatter(
            *at[here].T, s=14, color=colour, marker=marker, alpha=0.75, linewidths=0, label=value
        )
        new = here & ~known
        axes.scatter(
            *at[new].T, s=34, facecolors="none", edgecolors=colour, marker=marker, linewidths=0.9
        )
    axes.legend(
        frameon=False,
        fontsize=7.5,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
        ncols=min(5, len(shown)),
        handletextpad=0.1,
        columnspacing=0.8,
        markerscale=1.6,
    )


def _figure(
    size: tuple[float, float], paint: Callable[[Any], None], folder: Path, name: str
) -> list[Path]:
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("figures", "report") from error
    folder.mkdir(parents=True, exist_ok=True)
    with rc_context(STYLE):
        figure = Figure(figsize=size)
        paint(figure)
        return save(figure, folder, name)
