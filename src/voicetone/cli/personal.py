"""`voicetone personal`: what calibrating to each speaker would gain and cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voicetone.cli.output import say, write_text
from voicetone.errors import UsageError

HELP = (
    "Measure what personal calibration gains and costs on predictions.\n\nSome clips of each "
    "speaker correct what the model says of that speaker's others; the scores are printed with and "
    "without it. Nothing of a judged speaker's tested clips is used."
)


def personal(
    predictions: Annotated[
        Path,
        typer.Argument(metavar="PREDICTIONS", help="A table of predictions or a run's folder."),
    ],
    clips: Annotated[
        str, typer.Option(help="Numbers of unlabelled clips, separated by commas.")
    ] = "2,4,8,16",
    per_label: Annotated[
        str, typer.Option(help="Numbers of labelled clips of each label; empty for none.")
    ] = "1,2,4",
    splits: Annotated[int, typer.Option(help="How often clips are split anew.")] = 4,
    out: Annotated[
        Path | None, typer.Option(help="Folder for personal.json and personal.md.")
    ] = None,
    draws: Annotated[int, typer.Option(help="Draws of speakers for the intervals.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the splits and the draws.")] = 0,
) -> None:
    """Measure personal calibration; see HELP."""
    if draws < 1:
        raise UsageError(f"--draws {draws}: a difference needs some hundreds")
    from voicetone.evaluation.personal_measured import Plan, measure
    from voicetone.evaluation.personal_text import markdown
    from voicetone.evaluation.report_files import to_json
    from voicetone.evaluation.table import read_predictions

    plan = Plan(
        clips=_numbers("--clips", clips),
        per_label=_numbers("--per-label", per_label),
        splits=splits,
        draws=draws,
        seed=seed,
    )
    name = predictions.resolve().name if predictions.is_dir() else predictions.stem
    measured = measure(read_predictions(predictions), plan)
    text = markdown(measured, name)
    if out is None:
        say(text)
        return
    write_text(out / "personal.json", to_json(measured))
    write_text(out / "personal.md", text)
    say(f"{out / 'personal.md'}\n")


def _numbers(option: str, text: str) -> tuple[int, ...]:
    """The numbers of an option, ascending, each once."""
    try:
        return tuple(sorted({int(part) for part in text.split(",") if part.strip()}))
    except ValueError as error:
        raise UsageError(f"{option} {text}: give numbers such as 2,4,8") from error
