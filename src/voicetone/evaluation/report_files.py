"""A folder with all that is said of a table: page, JSON, Markdown, figures."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voicetone.evaluation.bootstrap import DRAWS
from voicetone.evaluation.report import render
from voicetone.evaluation.report_text import markdown
from voicetone.evaluation.scores import judge, judge_dimensions
from voicetone.evaluation.table import DimensionTable, PredictionTable


def write_report(
    table: PredictionTable | DimensionTable,
    out: Path,
    *,
    title: str,
    places: Sequence[Path] = (),
    draws: int = DRAWS,
    seed: int = 0,
    figures: bool = False,
    audio: bool = True,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Judge a table and write `report.html`, `scores.json`, `scores.md` and perhaps `figures/`.

    Args:
        table: the predictions.
        out: the folder; what it holds under these names is replaced.
        title: what the report is called.
        places: folders that the table's relative audio paths may start from.
        draws: of the bootstrap over speakers.
        seed: of the draws.
        figures: whether to draw them, as PNG and PDF.
        audio: whether the worst errors can be played: short recordings are put into the page.
        extra: keys to add to the judgement, such as `robustness`.

    Returns:
        The page.

    Raises:
        OSError: the folder can't be written to.
        MissingExtraError: figures without matplotlib.
    """
    judged = judge if isinstance(table, PredictionTable) else judge_dimensions
    judgement = {**judged(table, draws, seed), **(extra or {})}  # type: ignore[arg-type]
    page = out / "report.html"
    out.mkdir(parents=True, exist_ok=True)
    write(out / "scores.json", to_json(judgement))
    write(out / "scores.md", markdown(judgement, title))
    if figures:
        from voicetone.evaluation.figures import draw

        draw(judgement, out / "figures")
    write(page, render(judgement, title=title, places=places, folder=out, audio=audio))
    return page


def to_json(data: Mapping[str, Any]) -> str:
    """JSON for people and programs."""
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write(path: Path, text: str) -> None:
    """Write a text file that appears under its name when it is complete."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8", newline="\n")
    part.replace(path)
