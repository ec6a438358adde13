"""`voicetone synthesize`: feature vectors made up by a trained network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voicetone.cli.options import Data
from voicetone.cli.output import needing, say, written
from voicetone.errors import UsageError

HELP = (
    "Draw samples from the mixture of a trained network and decode them into features.\n\nRUN is "
    'one system\'s folder, OUT/TARGET/SYSTEM, of a recipe of kind = "gmm-aae". FILE gets one row '
    "per sample; FILE.quality.json and .md say whether the samples can be "
    "told from real utterances, and whether they are copies of any."
)


def synthesize(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="OUT/TARGET/SYSTEM of a gmm-aae run.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="A .parquet or .csv file.")],
    per_class: Annotated[int, typer.Option(help="Samples of each class.")] = 100,
    classes: Annotated[
        str, typer.Option(metavar="A,B", help="Only these classes; all by default.")
    ] = "",
    fold: Annotated[
        str, typer.Option(help="Whose network; the first fold's that was kept by default.")
    ] = "",
    seed: Annotated[
        int | None, typer.Option(help="Whose network; the lowest that there is by default.")
    ] = None,
    draw_seed: Annotated[int, typer.Option(help="Another number gives other samples.")] = 0,
    data: Data = None,
    quality: Annotated[bool, typer.Option(help="Compare the samples with real ones.")] = True,
    jobs: Annotated[int, typer.Option(help="Threads; 0 is one per core.")] = 0,
) -> None:
    """Draw and decode samples; see HELP."""
    if jobs < 0:
        raise UsageError(f"--jobs {jobs}: give a number from 0 on")
    wanted = [name.strip() for name in classes.split(",") if name.strip()]
    if classes and not wanted:
        raise UsageError(f"--classes {classes}: names no class; give some as in anger,sadness")
    with needing("synthesize", "data,report,train"), written(out):
        from voicetone.training import gmm_synthesis

        page = gmm_synthesis.synthesize(
            run,
            out,
            per_class=per_class,
            fold=fold,
            seed=seed,
            draw_seed=draw_seed,
            classes=wanted,
            data=data or (),
            measure=quality,
            jobs=jobs,
        )
    say(page)
    say(f"\n{out}\n")
