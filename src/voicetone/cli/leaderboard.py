"""`voicetone leaderboard`: all runs of a folder in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voicetone.cli.compare import check_metric
from voicetone.cli.output import say


def leaderboard(
    folder: Annotated[Path, typer.Argument(metavar="RUNS", help="The folder that holds the runs.")],
    metric: Annotated[
        str, typer.Option(help="To sort by: uar, wa, macro_f1 or weighted_f1.")
    ] = "uar",
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of Markdown.")] = False,
) -> None:
    """Print all runs of a folder as one table, the best first."""
    import json

    check_metric(metric)
    from voicetone.evaluation import leaderboard as board

    entries = board.leaderboard(folder, metric)
    if as_json:
        say(json.dumps(entries, indent=1, ensure_ascii=False) + "\n")
    else:
        say(board.markdown(entries, metric))
