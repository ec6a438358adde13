"""The figures of an evaluation as PNG and PDF, for papers and slides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from voicetone.errors import MissingExtraError

BLUE, ORANGE, PALE, GREY = (
    "#0072b2",
    "#d55e00",
    "#9cc9e3",
    "#8a94a1",
)  # told apart by the colour-blind too
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,  # text that stays text
    "savefig.dpi": 200,
}
# Neither carries a date, so that the same predictions give the same files.
METADATA: Mapping[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "ModDate": None},
}


def draw(judgement: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw what there is to draw of a judgement, each figure as PNG and PDF.

    Args:
        judgement: of `scores.judge` or `judge_dimensions`.
        folder: where the figures go; it is made.

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
    files = []
    for name, (size, painter) in _painters(judgement).items():
        with rc_context(STYLE):
            figure = Figure(figsize=size)
            painter(figure.subplots(), judgement)
            files += save(figure, folder, name)
    return files


def save(figure: Any, folder: Path, name: str) -> list[Path]:
    """Write a matplotlib figure as `NAME.png` and `NAME.pdf`, each whole or not at all."""
    files = []
    for ending, metadata in METADATA.items():
        path = folder / f"{name}.{ending}"
        part = path.with_name(f"{name}.part.{ending}")
        figure.savefig(part, metadata=metadata)
        part.replace(path)
        files.append(path)
    return files


Painter = Callable[[Any, Mapping[str, Any]], None]


def _painters(judgement: Mapping[str, Any]) -> dict[str, tuple[tuple[float, float], Painter]]:
    if judgement["kind"] == "dimensions":
        return {"concordance": ((4.2, 0.9 + 0.5 * len(judgement["concordance"])), _concordance)}
    labels = len(judgement["labels"])
    side = 1.6 + 0.5 * labels
    found: dict[str, tuple[tuple[float, float], Painter]] = {
        "confusion": ((side, side * 0.9), _confusion),
        "labels": ((4.6, 1.0 + 0.4 * labels), _labels),
    }
    if judgement["calibration"]:
        found["reliability"] = ((3.4, 3.2), _reliability)
    if len(judgement["dont_know"]) > 1:
        found["coverage"] = ((3.8, 3.0), _coverage)
    if judgement["fairness"]:
        count = sum(len(kind["groups"]) for kind in judgement["fairness"])
        found["groups"] = ((4.6, 1.0 + 0.35 * count), _groups)
    return found


def _confusion(axes: Any, judgement: Mapping[str, Any]) -> None:
    counts = np.array(judgement["confusion"], dtype=float)
    total = counts.sum(1, keepdims=True)
    share = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    names = [row["label"] for row in judgement["labels"]]
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(share.shape):
        colour = "white" if share[i, j] > 0.55 else "black"
        axes.text(j, i, f"{100 * share[i, j]:.0f}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("said")
    axes.set_ylabel("truth")
    axes.set_title("per cent of each true label", fontsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)


def _labels(axes: Any, judgement: Mapping[str, Any]) -> None:
    rows = judgement["labels"][::-1]
    scores = [row["recall"] for row in rows]
    _whiskers(axes, [row["label"] for row in rows], scores)
    axes.axvline(judgement["scores"]["uar"]["mean"], color=GREY, linestyle="--", linewidth=1)
    axes.set_xlim(0, 1)
    axes.set_xlabel("recall; dashed: UAR")


def _groups(axes: Any, judgement: Mapping[str, Any]) -> None:
    pairs = [(k["kind"], g) for k in judgement["fairness"] for g in k["groups"]][::-1]
    scores: list[Mapping[str, Any]] = [
        {"mean": g["gap"], "low": g["low"], "high": g["high"]} for _, g in pairs
    ]
    _whiskers(axes, [f"{kind}: {g['name']}" for kind, g in pairs], scores)
    axes.axvspan(-0.075, 0.075, color=GREY, alpha=0.15, linewidth=0)
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_xlabel("UAR of the group minus that of all; shaded: within the limits")


def _concordance(axes: Any, judgement: Mapping[str, Any]) -> None:
    rows = judgement["concordance"][::-1]
    _whiskers(axes, [row["dimension"] for row in rows], rows)
    known = [row[key] for row in rows for key in ("mean", "low") if row[key] is not None]
    axes.set_xlim(min([0.0, *known]), 1)
    axes.set_xlabel("CCC")


def _whiskers(axes: Any, names: list[str], scores: list[Mapping[str, Any]]) -> None:
    for place, score in enumerate(scores):
        if score["mean"] is None:
            continue
        if score["low"] is not None:
            axes.plot([score["low"], score["high"]], [place] * 2, color=BLUE, alpha=0.35, lw=5)
        axes.plot(score["mean"], place, "o", color=BLUE, markersize=5)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)


def _reliability(axes: Any, judgement: Mapping[str, Any]) -> None:
    bins = judgement["calibration"]["bins"]
    left = np.array([b["low"] for b in bins])
    width = np.array([b["high"] - b["low"] for b in bins])
    right = np.array([b["accuracy"] for b in bins])
    sure = np.array([b["confidence"] for b in bins])
    shared = np.minimum(right, sure)
    for height, foot, colour, label in (
        (shared, 0, BLUE, "accuracy and confidence"),
        (sure - shared, shared, ORANGE, "confidence alone"),
        (right - shared, shared, PALE, "accuracy alone"),
    ):
        axes.bar(left, height, width * 0.94, bottom=foot, align="edge", color=colour, label=label)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy")
    axes.set_title(f"ECE {judgement['calibration']['ece']:.3f}", fontsize=9)
    axes.legend(frameon=False, loc="upper left")


def _coverage(axes: Any, judgement: Mapping[str, Any]) -> None:
    points = judgement["dont_know"]
    share = [p["coverage"] for p in points]
    axes.plot(share, [p["uar"] for p in points], color=BLUE, label="UAR")
    axes.plot(share, [p["wa"] for p in points], color=ORANGE, linestyle="--", label="WA")
    axes.set(xlim=(0, 1), xlabel="share answered, the surest first", ylabel="score")
    axes.grid(axis="y", color=GREY, alpha=0.25)
    axes.legend(frameon=False)
