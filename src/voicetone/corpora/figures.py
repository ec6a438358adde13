"""Pictures of a manifest, as PNG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from voicetone.corpora.manifest import Manifest
from voicetone.corpora.stats import ATTRIBUTES, Stats, rated, stats
from voicetone.errors import MissingExtraError

MOST_SPEAKERS = 60  # bars that can still be told apart
SIZE = (8.0, 4.5)  # inches


def draw(manifest: Manifest, folder: Path) -> list[Path]:
    """Write what can be drawn: `labels`, `speakers`, `durations`, `agreement`, `attributes`.

    Returns:
        The files, in this order.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OSError: the folder can't be written to.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingExtraError("figures of a corpus", "report") from None
    folder.mkdir(parents=True, exist_ok=True)
    counted = stats(manifest)
    pictures: dict[str, Callable[[Any], None] | None] = {
        "labels": lambda axes: _labels(axes, counted),
        "speakers": lambda axes: _speakers(axes, counted),
        "durations": (lambda axes: _durations(axes, manifest)) if counted.durations else None,
        "agreement": (lambda axes: _agreement(axes, manifest)) if counted.rated else None,
        "attributes": (lambda axes: _attributes(axes, manifest)) if _has(manifest) else None,
    }
    written = []
    for name, paint in pictures.items():
        if paint is None:
            continue
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.add_subplot()
        paint(axes)
        axes.spines[["top", "right"]].set_visible(False)
        figure.suptitle(f"{manifest.corpus}, label rule {manifest.rule or 'none'}", fontsize=10)
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=120)
        written.append(path)
    return written


def _has(manifest: Manifest) -> bool:
    return any(getattr(u, name) is not None for u in manifest for name in ATTRIBUTES)


def _labels(axes: Any, counted: Stats) -> None:
    bars = axes.barh(list(counted.labels), list(counted.labels.values()), color="tab:blue")
    axes.bar_label(bars, padding=3)
    axes.invert_yaxis()
    axes.set_xlabel("utterances")


def _speakers(axes: Any, counted: Stats) -> None:
    names = sorted(counted.speakers, key=lambda n: -sum(counted.speakers[n].values()))
    shown = names[:MOST_SPEAKERS]
    below = [0] * len(shown)
    for label in counted.labels:
        heights = [counted.speakers[name].get(label, 0) for name in shown]
        axes.bar(range(len(shown)), heights, bottom=below, label=label)
        below = [b + h for b, h in zip(below, heights, strict=True)]
    ticks = [name.rpartition("/")[2] for name in shown]
    axes.set_xticks(range(len(shown)), ticks, rotation=90, fontsize=7)
    left = len(names) - len(shown)
    axes.set_xlabel(f"speakers ({left} more not shown)" if left else "speakers")
    axes.set_ylabel("utterances")
    axes.legend(fontsize=7, ncols=2)


def _durations(axes: Any, manifest: Manifest) -> None:
    axes.hist([u.duration for u in manifest if u.duration is not None], bins=40)
    axes.set_xlabel("seconds")
    axes.set_ylabel("utterances")


def _agreement(axes: Any, manifest: Manifest) -> None:
    shares = [max(item.values()) / sum(item.values()) for item in rated(manifest)]
    axes.hist(shares, bins=20, range=(0, 1))
    axes.set_xlabel("share of the votes for the first label")
    axes.set_ylabel("utterances")


def _attributes(axes: Any, manifest: Manifest) -> None:
    for name in ATTRIBUTES:
        values = [v for u in manifest if (v := getattr(u, name)) is not None]
        axes.hist(values, bins=20, range=(0, 1), histtype="step", linewidth=2, label=name)
    axes.set_xlabel("rating, 0 to 1")
    axes.set_ylabel("utterances")
    axes.legend()
