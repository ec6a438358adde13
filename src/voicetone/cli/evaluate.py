"""`voicetone evaluate`: what predictions are worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voicetone.cli.output import complain, say, written
from voicetone.errors import DataError, UsageError

if TYPE_CHECKING:
    from voicetone.evaluation.table_files import AnyTable

HELP = (
    "Score predictions, of voicetone or of any other tool.\n\nWithout --out the scores are printed "
    "as Markdown. With it, the folder gets report.html, scores.json, scores.md and figures/."
)


def evaluate(
    predictions: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PREDICTIONS...",
            help="Tables (Parquet, CSV; EmoBox, Odyssey) or run folders, judged together.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report, the scores and the figures.")
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(help="The true labels, for formats that keep them in another file."),
    ] = None,
    title: Annotated[str | None, typer.Option(help="What the report is called.")] = None,
    changed: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PREDICTIONS",
            help="Predictions of the same utterances after a change of the audio, such as "
            '"babble 20 dB=noisy.parquet". Can be given many times.',
        ),
    ] = None,
    draws: Annotated[int, typer.Option(help="Draws of speakers for the intervals.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    figures: Annotated[bool, typer.Option(help="Draw figures as PNG and PDF.")] = True,
    audio: Annotated[
        bool,
        typer.Option(
            help="Put recordings of the worst errors into the report. They are those that the "
            "table names, wherever they lie: leave them out of reports on tables of others."
        ),
    ] = True,
    recompute: Annotated[
        Path | None,
        typer.Option(
            metavar="RESULTS.json",
            help="Instead: compute every number of a results file again from its predictions.",
        ),
    ] = None,
) -> None:
    """Score predictions; see HELP."""
    if recompute is not None:
        if predictions or out:
            raise UsageError("--recompute takes its predictions from the file: name nothing else")
        _recompute(recompute)
        return
    if not predictions:
        raise UsageError("no predictions named: give tables or run folders")
    if draws < 0:
        raise UsageError(f"--draws {draws}: give 0 for no intervals, or some hundreds")
    table = _read(predictions, truth)
    extra = _changes(table, changed or [], draws, seed)
    name = title or _name(predictions)
    if out is None:
        from voicetone.evaluation.report_text import markdown

        say(markdown({**_judge(table, draws, seed), **extra}, name))
        return
    from voicetone.evaluation.report_files import write_report

    folders = [p if p.is_dir() else p.parent for p in predictions]
    with written(out):
        page = write_report(
            table,
            out,
            title=name,
            places=[*folders, *(p / "predictions" for p in folders)],
            draws=draws,
            seed=seed,
            figures=figures,
            audio=audio,
            extra=extra,
        )
    say(f"{page}\n")


def _name(predictions: Sequence[Path]) -> str:
    first = predictions[0]
    name = first.resolve().name if first.is_dir() else first.stem
    return name if len(predictions) == 1 else f"{name} and {len(predictions) - 1} more"


def _read(paths: Sequence[Path], truth: Path | None) -> AnyTable:
    """The tables put together."""
    from voicetone.evaluation.table import (
        DimensionTable,
        PredictionTable,
        concatenate,
        concatenate_dimensions,
    )
    from voicetone.evaluation.table_files import read_table

    tables = [read_table(path, truth) for path in paths]
    if len(tables) == 1:
        return tables[0]
    labelled = [t for t in tables if isinstance(t, PredictionTable)]
    dimensions = [t for t in tables if isinstance(t, DimensionTable)]
    if labelled and dimensions:
        raise DataError("some tables hold labels, others dimensions: judge them one by one")
    return concatenate(labelled) if labelled else concatenate_dimensions(dimensions)


def _judge(table: AnyTable, draws: int, seed: int) -> dict[str, Any]:
    from voicetone.evaluation.scores import judge, judge_dimensions
    from voicetone.evaluation.table import PredictionTable

    if isinstance(table, PredictionTable):
        return judge(table, draws, seed)
    return judge_dimensions(table, draws, seed)


def _changes(
    table: AnyTable, changed: Sequence[str], draws: int, seed: int
) -> dict[str, list[dict[str, Any]]]:
    """What changes of the audio do, for the judgement."""
    from dataclasses import asdict

    from voicetone.evaluation.robustness import LIMITS, Condition, robustness
    from voicetone.evaluation.table import PredictionTable, read_predictions

    if not changed:
        return {}
    if not isinstance(table, PredictionTable):
        raise UsageError("--changed compares labels: these predictions are of dimensions")
    conditions = []
    for word in changed:
        name, equals, path = word.partition("=")
        if not (name and equals and path):
            raise UsageError(f"--changed {word}: not of the form NAME=PREDICTIONS")
        conditions.append(Condition(name, read_predictions(Path(path)), LIMITS.get(name)))
    effects = robustness(table, conditions, draws, seed)
    return {"robustness": [asdict(effect) for effect in effects]}


def _recompute(path: Path) -> None:
    from voicetone.evaluation.results import recompute

    check = recompute(path)
    for line in check.mismatches:
        complain(line)
    if check.mismatches:
        raise typer.Exit(DataError.exit_code)
    say(
        f"{path}: all {check.numbers} numbers of {check.rows} rows come out again, and "
        f"{check.words} facts are as their tables say\n"
    )
