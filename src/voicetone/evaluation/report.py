"""An evaluation as one HTML page that opens from disk without a network and runs no script."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from voicetone.evaluation import fairness, report_picture
from voicetone.evaluation.call_audio import Player
from voicetone.evaluation.counts import NAMES
from voicetone.evaluation.page import fill
from voicetone.evaluation.report_clips import clip_player, find_clip
from voicetone.evaluation.robustness import limit_words

FACTS = {
    "protocol": "Protocol",
    "label_rule": "Label rule",
    "features": "Features",
    "model": "Model",
    "folds": "Fold table",
    "recipe": "Recipe",
}
"""What is known of a run and stands in each report, by its key in a table's `meta`."""


def render(
    judgement: Mapping[str, Any],
    *,
    title: str,
    places: Sequence[Path] = (),
    folder: Path | None = None,
) -> str:
    """The report, as text to be written in UTF-8.

    Args:
        judgement: of `scores.judge` or `judge_dimensions`; `robustness` may hold effects.
        title: what was judged.
        places: folders that the table's relative audio paths may start from.
        folder: where the page will lie, for links to long recordings; by default the current one.
    """
    players = _players(judgement, places, folder or Path.cwd())
    return _page(
        "evaluation.html",
        players,
        title=title,
        judgement=judgement,
        table=judgement["table"],
        facts=facts_of(judgement["table"]),
        limits={
            "uar": fairness.UAR_GAP,
            "precision": fairness.PRECISION_GAP,
            "recall": fairness.RECALL_GAP,
        },
        **_pictures(judgement),
    )


def render_comparison(comparison: Mapping[str, Any]) -> str:
    """The page of several runs side by side; see `compare.compare`."""
    return _page(
        "comparison.html",
        [],
        title="Runs side by side",
        comparison=comparison,
        titles=FACTS,
    )


def facts_of(table: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is known of a run, in the order of `FACTS`, then the rest."""
    meta = table["meta"]
    named = [(title, _short(key, str(meta[key]))) for key, title in FACTS.items() if meta.get(key)]
    others = [(k.replace("_", " "), str(v)) for k, v in meta.items() if k not in FACTS and v]
    corpora = [("Corpus", ", ".join(table["corpora"]))] if table["corpora"] else []
    return [*corpora, *named, *others]


def _page(template: str, players: Sequence[Player | None], **values: Any) -> str:
    return fill(
        template,
        "evaluation.css",
        players=players,
        filters=FILTERS,
        names=NAMES,
        bar=report_picture.bar,
        plot={
            "width": report_picture.WIDTH,
            "height": report_picture.HEIGHT,
            "left": report_picture.LEFT,
            "right": report_picture.RIGHT,
            "top": report_picture.TOP,
            "foot": report_picture.FOOT,
            "marks_x": report_picture.marks_x(),
            "marks_y": report_picture.marks_y(),
        },
        **values,
    )


def _pictures(judgement: Mapping[str, Any]) -> dict[str, Any]:
    """What is drawn of the calibration and of the coverage."""
    if judgement["kind"] != "labels":
        return {"bins": [], "curves": None}
    calibration = judgement["calibration"]
    points = judgement["dont_know"]
    curves = None
    if len(points) > 1:
        low = report_picture.foot_of([v for p in points for v in (p["wa"], p["uar"])])
        curves = {
            "wa": report_picture.line([(p["coverage"], p["wa"]) for p in points], low),
            "uar": report_picture.line([(p["coverage"], p["uar"]) for p in points], low),
            "marks_y": report_picture.marks_y(low),
        }
    bins = report_picture.reliability(calibration["bins"]) if calibration else []
    return {"bins": bins, "curves": curves}


def _players(
    judgement: Mapping[str, Any], places: Sequence[Path], folder: Path
) -> list[Player | None]:
    found = []
    for mistake in judgement.get("errors", []):
        clip = find_clip(mistake["audio"], [*places, Path.cwd()])
        found.append(None if clip is None else clip_player(clip, folder))
    return found


def _short(key: str, value: str) -> str:
    return value[:12] if key in ("folds", "recipe") else value


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def p_value(p: float | None) -> str:
    """A p value as papers write it."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


FILTERS: Mapping[str, Callable[..., Any]] = {
    "score": _score,
    "signed": lambda v: "–" if v is None else f"{v:+.3f}".replace("-", "−"),
    "share": lambda v: "–" if v is None else f"{v:.1%}",
    "limit": limit_words,
    "thousands": lambda v: f"{v:,}",
    "p": p_value,
    "shade": report_picture.shade,
}
