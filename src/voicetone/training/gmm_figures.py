"""Figures of an autoencoder whose codes match a mixture: the code plane, at rest and moving."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voicetone.errors import DataError
from voicetone.evaluation.figures import BLUE, ORANGE
from voicetone.models.aae import CHANCE
from voicetone.models.gmm_aae import Doubles, Mixture
from voicetone.training.aae_figures import (
    COLOURS,
    LEGEND,
    MARKERS,
    Level,
    Panel,
    draw_figure,
    scatter,
    scatter_rest,
)

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Values = NDArray[np.floating[Any]]

# Where the paper's training settled on IEMOCAP, read off its figure of the losses.
PAPER_DISCRIMINATOR, PAPER_GENERATOR = 0.68, 0.75
PAPER_TRAINING, PAPER_TEST = 0.92, 1.08

_SEED = 0
_DRAWS = 20_000  # samples for the mixture's mean distance: its error is far below a line's width
_SHARE = 99  # per cent of the codes that the axes hold at least; a stray one must not shrink all
_LABEL = 2.7  # radial SDs from a component's mean to its label: just beyond the outer ellipse
_LETTER = 4.6  # points, the width of a letter of a label
_PANEL = 4.6  # inches, with the labels of its axis
_BESIDE, _AROUND, _LINE = 0.65, 0.85, 0.16  # inches: of those labels, above and below, of a line
_CROWD = 500  # codes; more of them are drawn smaller
_FRAMES = 45
_PER_SECOND = 6
_HELD = 2  # seconds for which the last frame stays
_DPI = 120
_INK = "#22262b"  # of words: some of the classes' colours are too pale to read
# The house's colours with an eighth, dark and reddish, that no other is near.
_COLOURS = (*COLOURS, "#882255")
_NOWHERE = "of no component"


def panels(mixture: Mixture) -> tuple[Panel, ...]:
    """What `draw_curves` draws of such an autoencoder, with the levels that are expected."""
    return (
        Panel(
            "adversarial",
            "cross-entropy",
            (("discriminator", "discriminator"), ("generator", "generator")),
            (
                Level(CHANCE, "ln 2: can't tell"),
                Level(PAPER_DISCRIMINATOR, "dotted: the paper's", BLUE, ":"),
                Level(PAPER_GENERATOR, "", ORANGE, ":"),
            ),
            zero=False,
        ),
        Panel(
            "reconstruction",
            "mean squared error",
            (
                ("reconstruction", "training (with dropout)"),
                ("validation_reconstruction", "validation (without)"),
            ),
            (
                Level(PAPER_TRAINING, "dotted: the paper's", BLUE, ":"),
                Level(PAPER_TEST, "", ORANGE, ":"),
            ),
        ),
        Panel(
            "validation: likeliest component",
            "UAR",
            (("posterior_uar", ""),),
            (Level(1 / mixture.classes, "chance"),),
        ),
        Panel(
            "validation: distance from the middle",
            "mean over codes",
            (("distance", ""),),
            (Level(mean_distance(mixture), "the mixture's"),),
        ),
    )


def mean_distance(mixture: Mixture) -> float:
    """Mean distance of the mixture's samples from the middle."""
    classes = np.arange(_DRAWS, dtype=np.int64) % mixture.classes
    return float(np.linalg.norm(mixture.sample(classes, [_SEED]), axis=1).mean())


def draw_plane(
    codes: Values,
    labels: Sequence[str],
    known: Flags,
    mixture: Mixture,
    names: Sequence[str],
    folder: Path,
    title: str,
    name: str = "plane",
) -> list[Path]:
    """Draw codes beside as many samples of their mixture, in its first two dimensions.

    Each component is drawn as its ellipses of 1 and 2 SD. Codes of one dimension are drawn as a
    strip, with a row for each class.

    Args:
        codes: `[n, size]`.
        labels: class of each code `[n]`; codes of others than `names` are grey.
        known: codes of speakers who trained the network `[n]`; the others are ringed.
        mixture: what the codes are to match.
        names: of its components `[classes]`.
        folder: where the files go.
        title: which network.
        name: of the files, PNG and PDF.

    Raises:
        DataError: shapes that don't fit, codes that are not finite.
        MissingExtraError: matplotlib is not installed.
    """
    of = {label: place for place, label in enumerate(names)}
    truth = np.array([of.get(label, -1) for label in labels], dtype=np.int64)
    _require(codes, truth, known, mixture, names)
    rng = np.random.default_rng([_SEED, 1])
    drawn = np.where(truth < 0, rng.integers(mixture.classes, size=len(truth)), truth)
    samples = mixture.sample(drawn, [_SEED, 2])
    plane = _Plane(mixture, tuple(names), _reach(mixture, codes, names))

    def paint(figure: Any) -> None:
        left, right = figure.subplots(1, 2, sharex=True, sharey=True)
        plane.paint(left, codes, truth, known, "codes")
        plane.paint(right, samples, truth, np.ones(len(truth), bool), "samples of the mixture")
        _legend(figure, left, 9)
        figure.suptitle("; ".join([title, *_caption(known)]), fontsize=8)

    size = (2 * _PANEL, plane.height(1, 9))
    return draw_figure(size, paint, folder, name)


def animate(
    epochs: Sequence[int],
    codes: Values,
    truth: Integers,
    labels: Sequence[str],
    known: Flags,
    mixture: Mixture,
    folder: Path,
    title: str,
) -> Path:
    """Draw how codes move over the epochs of a training, as an animated GIF.

    Of many epochs 45 are shown, evenly spaced; the last stays for two seconds.

    Args:
        epochs: `[s]`.
        codes: `[s, n, size]`.
        truth: places of the classes `[n]`, -1 without a label.
        labels: of the mixture's components `[classes]`.
        known: codes of speakers who trained the network `[n]`; the others are ringed.
        mixture: what the codes are to match.
        folder: where `plane.gif` goes.
        title: which network.

    Raises:
        DataError: shapes that don't fit, codes that are not finite.
        MissingExtraError: matplotlib is not installed.
    """
    if codes.ndim != 3 or not 0 < len(epochs) == len(codes):
        raise DataError(
            f"{len(epochs)} epochs for codes of shape {codes.shape}: an animation needs codes "
            "[epochs, utterances, dimensions]"
        )
    shown = np.unique(np.linspace(0, len(epochs) - 1, min(_FRAMES, len(epochs))).round())
    steps = shown.astype(int).tolist()
    every = codes.reshape(-1, codes.shape[2])
    _require(every, np.tile(truth, len(codes)), np.tile(known, len(codes)), mixture, labels)
    plane = _Plane(mixture, tuple(labels), _reach(mixture, every, labels))

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        plane.paint(axes, codes[steps[-1]], truth, known, f"epoch {epochs[steps[-1]]}")
        _legend(figure, axes, 3)
        figure.suptitle("\n".join([title, *_caption(known)]), fontsize=8)

    def step(axes: Any, place: int) -> None:
        axes.clear()
        plane.paint(axes, codes[place], truth, known, f"epoch {epochs[place]}")

    def write(figure: Any) -> list[Path]:
        return [_write_frames(figure, step, steps, folder / "plane.gif")]

    return draw_figure((_PANEL, plane.height(3, 3)), paint, folder, "plane", write)[0]


def _write_frames(
    figure: Any, step: Callable[[Any, int], None], steps: Sequence[int], path: Path
) -> Path:
    """Write a figure of one panel as an animated GIF, whole or not at all.

    Args:
        figure: as its last frame.
        step: paints one frame on the panel.
        steps: what `step` is given, one after the other.
        path: of the file.
    """
    from matplotlib.animation import PillowWriter

    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # so that the axes stay where they are
    part = path.with_name(f"{path.stem}.part.gif")
    with PillowWriter(fps=_PER_SECOND).saving(figure, part, _DPI) as writer:
        for place in [*steps, *[steps[-1]] * (_HELD * _PER_SECOND - 1)]:
            step(figure.axes[0], place)
            writer.grab_frame()
    part.replace(path)
    return path


def _require(
    codes: Values, truth: Integers, known: Flags, mixture: Mixture, names: Sequence[str]
) -> None:
    """That there is something to draw, and that it fits together."""
    if codes.ndim != 2 or codes.shape[1] != mixture.size or not len(codes):
        raise DataError(
            f"codes of shape {codes.shape} can't be drawn on a mixture of {mixture.size} "
            f"dimensions: give codes [utterances, {mixture.size}]"
        )
    if not len(codes) == len(truth) == len(known):
        raise DataError(
            f"{len(codes)} codes, {len(truth)} labels and {len(known)} marks of known speakers "
            "don't fit together: give one of each per utterance"
        )
    if len(names) != mixture.classes or truth.max() >= mixture.classes:
        raise DataError(
            f"{len(names)} names for a mixture of {mixture.classes} components: give each "
            "component its class's name"
        )
    bad = int((~np.isfinite(codes)).any(1).sum())
    if bad:
        raise DataError(
            f"{bad} of {len(codes)} codes are not finite and can't be drawn: the training "
            "diverged; lower its rates"
        )


def _reach(mixture: Mixture, codes: Values, names: Sequence[str]) -> tuple[float, float]:
    """How far the axes go from the middle, to the right and up.

    They hold all ellipses with their labels, and all codes but a few stray ones.
    """
    far = np.percentile(np.abs(codes[:, :2]), _SHARE, axis=0)
    outer = mixture.radius + (_LABEL + 0.7) * mixture.radial
    if mixture.size == 1:
        return 1.05 * max(float(far[0]), outer), 0.0
    # A label to the side of a component needs room: a share of the half-width of the panel.
    letters = max(len(name) for name in names)
    room = min(0.4, 2 * letters * _LETTER / (72 * _PANEL))
    return max(1.05 * float(far[0]), outer / (1 - room)), max(1.05 * float(far[1]), outer)


@dataclass(frozen=True)
class _Plane:
    """One panel, the same for codes and samples and for all epochs."""

    mixture: Mixture
    names: tuple[str, ...]
    reach: tuple[float, float]

    def height(self, lines: int, columns: int) -> float:
        """Inches of a figure with lines of text above and a legend of columns below."""
        right, up = self.reach
        rows = -(-(len(self.names) + 1) // columns)
        around = _AROUND + _LINE * (lines + rows)
        if self.mixture.size == 1:
            return around + 0.5 * (len(self.names) + 1)
        return around + (_PANEL - _BESIDE) * min(1.3, max(0.6, up / right))

    def paint(self, axes: Any, codes: Values, truth: Integers, known: Flags, title: str) -> None:
        """Components, then codes `[n, size]`."""
        at = self._places(codes, truth)
        rest = truth < 0
        scale = max(0.5, min(1.0, (_CROWD / len(codes)) ** 0.5))
        if rest.any():
            scatter_rest(axes, at[rest], _NOWHERE)
        for place, name in enumerate(self.names):
            here = truth == place
            scatter(axes, at[here], known[here], _look(place), name, scale)
        self._components(axes)
        self._frame(axes)
        axes.set_title(title, fontsize=9)
        outside = int((np.abs(codes[:, :2]) > self._limits).any(1).sum())
        if outside:
            axes.text(
                0.99,
                0.01,
                f"{outside} outside",
                transform=axes.transAxes,
                ha="right",
                va="bottom",
                fontsize=7.5,
                color=_INK,
            )

    @property
    def _limits(self) -> Doubles:
        return np.array(self.reach[: min(2, self.mixture.size)])

    def _places(self, codes: Values, truth: Integers) -> Doubles:
        """Where codes are drawn `[n, 2]`."""
        if self.mixture.size > 1:
            return np.asarray(codes[:, :2], dtype=np.float64)
        spread = np.random.default_rng([_SEED, 3]).uniform(-0.25, 0.25, len(codes))
        row = np.where(truth < 0, len(self.names), truth)
        return np.column_stack([codes[:, 0], spread - row]).astype(np.float64)

    def _components(self, axes: Any) -> None:
        """Ellipses of 1 and 2 SD, and labels beyond them."""
        from matplotlib.patches import Ellipse
        from matplotlib.patheffects import withStroke

        one = self.mixture.size == 1
        for place, name in enumerate(self.names):
            mean, sizes, angle = _ellipse(self.mixture, place)
            for times in (1, 2):
                wide, high = 2 * times * sizes[0], 0.4 * times if one else 2 * times * sizes[1]
                # The colour lies under the points, the outline over them.
                pale = {"facecolor": _look(place)[0], "alpha": 0.12, "linewidth": 0, "zorder": 0}
                outline = {"facecolor": "none", "edgecolor": _INK, "linewidth": 0.8, "zorder": 3}
                for look in (pale, outline):
                    axes.add_patch(Ellipse((mean[0], mean[1]), wide, high, angle=angle, **look))
            if one:
                continue  # the rows of a strip are labelled by its axis
            direction = self.mixture.directions[place, :2]
            spot = (self.mixture.radius + _LABEL * self.mixture.radial) * direction
            axes.text(
                *spot,
                name,
                ha=_side(direction[0], "right", "center", "left"),
                va=_side(direction[1], "top", "center", "bottom"),
                fontsize=8,
                color=_INK,
                zorder=4,
                path_effects=[withStroke(linewidth=2.5, foreground="white")],
            )

    def _frame(self, axes: Any) -> None:
        right, up = self.reach
        axes.set_xlim(-right, right)
        axes.set_xlabel("code, dimension 1")
        if self.mixture.size == 1:
            axes.set_ylim(-len(self.names) - 0.5, 0.6)
            axes.set_yticks([-row for row in range(len(self.names))], self.names)
            return
        axes.set_ylim(-up, up)
        axes.set_ylabel("code, dimension 2")
        axes.set_aspect("equal")


def _look(place: int) -> tuple[str, str]:
    """Colour and marker: shapes differ too, for eyes and prints that see no colours."""
    return _COLOURS[place % len(_COLOURS)], MARKERS[place % len(MARKERS)]


def _side(value: float, below: str, middle: str, above: str) -> str:
    return middle if abs(value) < 0.3 else above if value > 0 else below


def _ellipse(mixture: Mixture, place: int) -> tuple[Doubles, Doubles, float]:
    """Middle `[2]`, SDs along both axes `[2]`, and the angle of the first in degrees."""
    covariance = mixture.covariances[place]
    mean = mixture.means[place]
    if mixture.size == 1:
        return np.array([mean[0], -place]), np.sqrt(np.array([covariance[0, 0], 1.0])), 0.0
    values, vectors = np.linalg.eigh(covariance[:2, :2])
    angle = float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])))
    return mean[:2], np.sqrt(values[::-1]), angle


def _caption(known: Flags) -> list[str]:
    ringed = [] if known.all() else ["ringed: speakers it was not trained on"]
    return [*ringed, "ellipses: 1 and 2 SD of the components"]


def _legend(figure: Any, axes: Any, columns: int) -> None:
    """Below all panels; what is of no component comes last."""
    pairs = sorted(zip(*axes.get_legend_handles_labels(), strict=True), key=_is_nowhere)
    handles, words = zip(*pairs, strict=True)
    figure.legend(
        handles, words, loc="outside lower center", ncols=min(len(words), columns), **LEGEND
    )


def _is_nowhere(pair: tuple[Any, str]) -> bool:
    return pair[1] == _NOWHERE
