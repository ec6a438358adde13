"""`voicetone compare`: runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voicetone.cli.output import say, write_text
from voicetone.errors import UsageError

METRICS = ("uar", "wa", "macro_f1", "weighted_f1")


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN RUN...", help="Run folders or tables of predictions."),
    ],
    metric: Annotated[str, typer.Option(help="uar, wa, macro_f1 or weighted_f1.")] = "uar",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for comparison.html, comparison.json and comparison.md."),
    ] = None,
    draws: Annotated[int, typer.Option(help="Draws of speakers for the intervals.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
) -> None:
    """Put runs side by side, each against the first, with intervals and p of the difference."""
    if len(runs) < 2:
        raise UsageError("one run can't be compared: name two or more")
    check_metric(metric)
    if draws < 1:
        raise UsageError(f"--draws {draws}: a difference needs some hundreds")
    from voicetone.evaluation import compare as comparing
    from voicetone.evaluation.report import render_comparison
    from voicetone.evaluation.report_files import to_json
    from voicetone.evaluation.table import read_predictions

    tables = [read_predictions(run) for run in runs]
    comparison = comparing.compare(
        list(zip(_names(runs), tables, strict=True)), metric, draws, seed
    )
    text = comparing.markdown(comparison)
    if out is None:
        say(text)
        return
    write_text(out / "comparison.html", render_comparison(comparison))
    write_text(out / "comparison.json", to_json(comparison))
    write_text(out / "comparison.md", text)
    say(f"{out / 'comparison.html'}\n")


def check_metric(metric: str) -> None:
    """Refuse a metric that is not known.

    Raises:
        UsageError: it is none of `METRICS`.
    """
    if metric not in METRICS:
        raise UsageError(f"--metric {metric}: not known: use one of {', '.join(METRICS)}")


def _names(runs: list[Path]) -> list[str]:
    """The runs' own names; their paths where two have the same."""
    names = [run.resolve().name if run.is_dir() else run.stem for run in runs]
    return names if len(set(names)) == len(names) else [str(run) for run in runs]
