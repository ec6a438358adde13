"""An evaluation as one HTML page that opens from disk without a network and runs no script."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voicetone.evaluation import fairness, report_picture
from voicetone.evaluation.call_audio import Player
from voicetone.evaluation.counts import NAMES
from voicetone.evaluation.report_clips import clip_player, find_clip
from voicetone.evaluation.robustness import limit_words

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).with_name("templates")
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
    style = (TEMPLATES / "evaluation.css").read_text("utf-8")
    page = (
        _environment()
        .get_template(template)
        .render(policy=_policy(style, players), style=style, names=NAMES, players=players, **values)
    )
    return page.encode("utf-8", "replace").decode("utf-8")


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["score"] = _score
    environment.filters["signed"] = lambda v: "–" if v is None else f"{v:+.3f}".replace("-", "−")
    environment.filters["share"] = lambda v: "–" if v is None else f"{v:.1%}"
    environment.filters["limit"] = limit_words
    environment.filters["thousands"] = lambda v: f"{v:,}"
    environment.filters["visible"] = _visible
    environment.filters["p"] = p_value
    environment.filters["shade"] = report_picture.shade
    environment.globals["bar"] = report_picture.bar
    environment.globals["plot"] = {
        "width": report_picture.WIDTH,
        "height": report_picture.HEIGHT,
        "left": report_picture.LEFT,
        "right": report_picture.RIGHT,
        "top": report_picture.TOP,
        "foot": report_picture.FOOT,
        "marks_x": report_picture.marks_x(),
        "marks_y": report_picture.marks_y(),
    }
    return environment


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


def _visible(text: object) -> str:
    """Text without what would break a line or turn the reading direction."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+", "\ufffd", str(text))


def _policy(style: str, players: Sequence[Player | None]) -> str:
    """The content-security policy: this style, these recordings, no script and nothing else."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    parts = [
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    sources = {p.embedded for p in players if p is not None}
    media = [
        *(["data:"] if True in sources else []),
        *(["'self' file:"] if False in sources else []),
    ]
    if media:
        parts.append(f"media-src {' '.join(media)}")
    return "; ".join(parts)
