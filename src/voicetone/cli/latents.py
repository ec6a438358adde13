"""`voicetone latents`: what the codes of a trained autoencoder hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voicetone.cli.options import Data
from voicetone.cli.output import needing, say, written
from voicetone.errors import UsageError

HELP = (
    "Export, probe and draw the codes of trained autoencoders.\n\nRUN is one system's folder, "
    "OUT/TARGET/SYSTEM. The folder --out gets latents.parquet (codes of the test utterances, each "
    "from the network that has not met its speaker), latents.json and latents.md (linear probes) "
    "and figures. Of an aae run, codes are y and z, and swapped.json has reconstructions with y "
    "swapped; of a gmm-aae run, latents.md tells whether strangers' codes follow their mixture, "
    "and --animate adds plane.gif."
)


def latents(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="OUT/TARGET/SYSTEM of an aae or gmm-aae run.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for what is made; RUN/latents by default.")
    ] = None,
    fold: Annotated[str, typer.Option(help="Only this fold's network.")] = "",
    seed: Annotated[
        int | None, typer.Option(help="Whose networks; the lowest that there is by default.")
    ] = None,
    data: Data = None,
    figures: Annotated[bool, typer.Option(help="Draw figures as PNG and PDF.")] = True,
    animate: Annotated[
        bool,
        typer.Option("--animate", help="Draw a gmm-aae training's code plane as a moving GIF."),
    ] = False,
    jobs: Annotated[int, typer.Option(help="Threads; 0 is one per core.")] = 0,
) -> None:
    """Export, probe, draw and swap codes; see HELP."""
    if jobs < 0:
        raise UsageError(f"--jobs {jobs}: give a number from 0 on")
    with needing("latents", "data,report,train"), written(out or run):
        from voicetone.training.aae_latents import use_latents
        from voicetone.training.gmm_latents import use_codes
        from voicetone.training.systems_trained import settings_of

        there = data or ()
        if settings_of(run, ("aae", "gmm-aae"))["kind"] == "gmm-aae":
            folder = use_codes(
                run,
                out,
                fold=fold,
                seed=seed,
                data=there,
                figures=figures,
                moving=animate,
                jobs=jobs,
            )
        elif animate:
            raise UsageError(
                f"--animate: {run} is an aae run, which keeps no codes of its training; only a "
                "gmm-aae run does"
            )
        else:
            folder = use_latents(
                run, out, fold=fold, seed=seed, data=there, figures=figures, jobs=jobs
            )
    say((folder / "latents.md").read_text(encoding="utf-8"))
    say(f"{folder}\n")
