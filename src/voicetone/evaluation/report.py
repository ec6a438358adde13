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
from voicetone.evaluation.table import CAUTIONS

FACTS = {
    "protocol": "Protocol",
    "label_rule": "Label rule",
    "features": "Features",
    "model": "Model",
    "selection": "Selection",
    "refit": "Validation set learnt in the end",
    "sentence_overlap": "Sentences in training and test",
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
    audio: bool = True,
) -> str:
    """The report, as text to be written in UTF-8.

    Args:
        judgement: of `scores.judge` or `judge_dimensions`; `robustness` may hold effects.
        title: what was judged.
        places: folders that the table's relative audio paths may start from.
        folder: where the page will lie, for links to long recordings; by default the current one.
        audio: whether the worst errors can be played.
    """
    players = _players(judgement, places if audio else None, folder or Path.cwd())
    return _page(
        "evaluation.html",
        players,
        title=title,
        judgement=judgement,
        table=judgement["table"],
        facts=facts_of(judgement["table"], title),
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


def facts_of(table: Mapping[str, Any], title: str = "") -> list[tuple[str, str]]:
    """What is known of a run, in the order of `FACTS`, then the rest.

    Args:
        table: of a judgement.
        title: of the report; a name that is the same is left out.
    """
    meta = table["meta"]
    named = [
        (name, short_fact(key, str(meta[key]))) for key, name in FACTS.items() if meta.get(key)
    ]
    others = [
        (key.replace("_", " ").capitalize(), str(value))
        for key, value in meta.items()
        if value and key not in (*FACTS, CAUTIONS) and (key, value) != ("name", title)
    ]
    corpora = [("Corpus", ", ".join(table["corpora"]))] if table["corpora"] else []
    seeds = [("Seeds", ", ".join(map(str, table["seeds"])))]
    return [*corpora, *named, *seeds, *others]


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
        ends = [c[key] for c in judgement["concordance"] for key in ("mean", "low")]
        below = any(end is not None and end < 0 for end in ends)
        return {"bins": [], "curves": None, "foot": -1.0 if below else 0.0}
    calibration = judgement["calibration"]
    points = judgement["dont_know"]
    curves = None
    if len(points) > 1:
        low = report_picture.foot_of([v for p in points for v in (p["wa"], p["uar"])])
        curves = {
            "wa": report_picture.line([(p["coverage"], p["wa"]) for p in points], low),
            "uar": report_picture.line([(p["coverage"], p["uar"]) for p in points], low),
            "marks_y": report_picture.marks_y(low),
            "foot": f"{low:g}" if low else "",
        }
    bins = report_picture.reliability(calibration["bins"]) if calibration else []
    return {"bins": bins, "curves": curves}


def _players(
    judgement: Mapping[str, Any], places: Sequence[Path] | None, folder: Path
) -> list[Player | None]:
    """The recordings of the worst errors; none where there are no places to look in."""
    found = []
    for mistake in judgement.get("errors", []):
        heard = "" if places is None else mistake["audio"]
        clip = find_clip(heard, [*(places or []), Path.cwd()])
        found.append(None if clip is None else clip_player(clip, folder))
    return found


def short_fact(key: str, value: str) -> str:
    """A fact as reports print it."""
    if key in ("folds", "recipe"):
        return value[:12]
    return {"True": "yes", "False": "no"}.get(value, value)


def _score(value: float | None) -> str:
    return "–" if value is None else _minus(f"{value:.3f}")


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _between(score: Mapping[str, Any]) -> str:
    """An interval; a minus and a dash would be hard to tell apart."""
    low, high = score["low"], score["high"]
    if low is None:
        return ""
    return f"{_score(low)}{' to ' if low < 0 else '–'}{_score(high)}"


def p_value(p: float | None) -> str:
    """A p value as papers write it."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


FILTERS: Mapping[str, Callable[..., Any]] = {
    "score": _score,
    "short": lambda v: _minus(f"{v:.2f}"),
    "between": _between,
    "fact": short_fact,
    "signed": lambda v: "–" if v is None else _minus(f"{v:+.3f}"),
    "share": lambda v: "–" if v is None else f"{v:.1%}",
    "limit": limit_words,
    "thousands": lambda v: f"{v:,}",
    "p": p_value,
    "shade": report_picture.shade,
}
