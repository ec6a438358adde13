"""Figures of autoencoders: their training curves, and their style codes in two dimensions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
LEGEND: Mapping[str, Any] = {
    "frameon": False,
    "fontsize": 7.5,
    "handletextpad": 0.1,
    "columnspacing": 0.8,
    "markerscale": 1.6,
}
_MOST = len(COLOURS) * len(MARKERS)


@dataclass(frozen=True)
class Level:
    """A horizontal line across a panel: where a curve is expected."""

    value: float
    word: str = ""
    """In the legend; without, the line has no place in it."""
    colour: str = GREY
    line: str = "--"


@dataclass(frozen=True)
class Panel:
    """One axes of training curves."""

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]
    """Names of at most two curves, and what the legend calls them."""
    levels: tuple[Level, ...] = ()
    zero: bool = True
    """Whether the axis begins at 0."""


PANELS = (
    Panel(
        "discriminators",
        "cross-entropy",
        (("discriminator_y", "of y"), ("discriminator_z", "of z")),
        (Level(CHANCE, "ln 2: can't tell"),),
    ),
    Panel(
        "reconstruction",
        "mean squared error",
        (
            ("reconstruction", "training (with dropout)"),
            ("validation_reconstruction", "validation (without)"),
        ),
    ),
    Panel(
        "classification",
        "cross-entropy",
        (
            ("classification", "training (with dropout)"),
            ("validation_loss", "validation (without)"),
        ),
    ),
    Panel("validation UAR", "UAR", (("uar", ""),)),
    Panel("entropy of mean y", "share of the greatest", (("y_entropy", ""),)),
    Panel("SD of z", "mean over dimensions", (("z_sd", ""),), (Level(1, "the prior's"),)),
)
_WIDTH, _HEIGHT = 2.9, 2.4  # inches, of a panel


def draw_curves(
    run: Path, folder: Path | None = None, panels: Sequence[Panel] = PANELS
) -> list[Path]:
    """Draw the training curves of a system: mean and range over its replicas.

    Args:
        run: `OUT/TARGET/SYSTEM`, with `curves/*.json`.
        folder: where `curves.png` and `curves.pdf` go; `run` if not given.
        panels: what is drawn of them; a panel without any curve is left out.

    Raises:
        DataError: there are no curves.
        MissingExtraError: matplotlib is not installed.
    """
    read = [json.loads(p.read_text("utf-8")) for p in sorted((run / "curves").glob("*.json"))]
    names = [name for panel in panels for name, _ in panel.lines]
    found = {name: _stacked([r[name] for r in read if name in r]) for name in names}
    shown = [p for p in panels if any(found[name].size for name, _ in p.lines)]
    if not shown:
        raise DataError(f"{run}: no training curves here; name OUT/TARGET/SYSTEM")
    columns = 2 if len(shown) == 4 else min(3, len(shown))
    rows = -(-len(shown) // columns)

    def paint(figure: Any) -> None:
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, panel in zip(grid, shown, strict=False):
            _curves(axes, panel, found)
        for axes in grid[len(shown) :]:
            axes.set_visible(False)
        figure.suptitle(f"line: mean of {len(read)} replicas; shaded: their range", fontsize=8)

    return draw_figure((_WIDTH * columns, _HEIGHT * rows), paint, folder or run, "curves")


def _stacked(curves: Sequence[Sequence[float | None]]) -> NDArray[np.float64]:
    """`[replicas, epochs]`, NaN where a curve has no number."""
    longest = max((len(c) for c in curves), default=0)
    out = np.full((len(curves), longest), np.nan)
    for row, curve in zip(out, curves, strict=True):
        row[: len(curve)] = [np.nan if v is None else v for v in curve]
    return out


def _curves(axes: Any, panel: Panel, found: Mapping[str, NDArray[np.float64]]) -> None:
    drawn = [(found[name], word) for name, word in panel.lines if found[name].size]
    for (curves, word), colour in zip(drawn, (BLUE, ORANGE), strict=False):
        kept = curves[:, ~np.isnan(curves).all(0)]
        epochs = 1 + np.flatnonzero(~np.isnan(curves).all(0))
        low, high = np.nanmin(kept, 0), np.nanmax(kept, 0)
        axes.fill_between(epochs, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(epochs, np.nanmean(kept, 0), color=colour, label=word or None)
    for level in panel.levels:
        label = level.word or None
        axes.axhline(
            level.value, color=level.colour, linestyle=level.line, linewidth=1, label=label
        )
    if panel.zero:
        axes.set_ylim(bottom=0)
    axes.set_title(panel.title, fontsize=9)
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel(panel.unit)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=7.5)


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

        files += draw_figure((4.6 * len(columns), 4.6), paint, folder, name)
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
        scatter_rest(axes, at[rest], f"{len(count) - len(shown)} others")
    for index, value in enumerate(shown):
        here = values == value
        look = COLOURS[index % len(COLOURS)], MARKERS[index // len(COLOURS)]
        scatter(axes, at[here], known[here], look, value)
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
        ncols=min(5, len(shown)),
        **LEGEND,
    )


def scatter(
    axes: Any,
    at: NDArray[np.float64],
    known: NDArray[np.bool_],
    look: tuple[str, str],
    label: str,
    scale: float = 1.0,
) -> None:
    """Draw the points of one class.

    Args:
        axes: where.
        at: `[n, 2]`.
        known: points of speakers who trained the network `[n]`; the others are ringed.
        look: colour and marker.
        label: in the legend.
        scale: of the points' area.
    """
    colour, marker = look
    axes.scatter(
        *at.T, s=14 * scale, color=colour, marker=marker, alpha=0.75, linewidths=0, label=label
    )
    axes.scatter(
        *at[~known].T,
        s=34 * scale,
        facecolors="none",
        edgecolors=colour,
        marker=marker,
        linewidths=0.9,
        zorder=2,  # above the points of all classes
    )


def scatter_rest(axes: Any, at: NDArray[np.float64], label: str) -> None:
    """Draw points `[n, 2]` of no class of their own, in grey."""
    axes.scatter(*at.T, s=8, color=GREY, alpha=0.4, linewidths=0, label=label)


def draw_figure(
    size: tuple[float, float],
    paint: Callable[[Any], None],
    folder: Path,
    name: str,
    write: Callable[[Any], list[Path]] | None = None,
) -> list[Path]:
    """Paint a figure in the house's style and save it.

    Args:
        size: width and height in inches.
        paint: what draws on the matplotlib figure.
        folder: where the files go; it is made.
        name: of the files, PNG and PDF.
        write: saves the figure in another way.

    Returns:
        The files.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("figures", "report") from error
    folder.mkdir(parents=True, exist_ok=True)
    with rc_context(STYLE):
        figure = Figure(figsize=size)
        paint(figure)
        return write(figure) if write else save(figure, folder, name)
