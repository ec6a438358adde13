"""`voicetone latents`: what the codes of a trained autoencoder hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voicetone.cli.options import AaeRun, Data
from voicetone.cli.output import needing, say, written
from voicetone.errors import UsageError

HELP = (
    "Export, probe, draw and swap the codes of trained autoencoders.\n\nRUN is one system's "
    "folder, OUT/TARGET/SYSTEM. The folder --out gets latents.parquet (y and z of the test "
    "utterances, each from the network that has not met its speaker), latents.json and latents.md "
    "(linear probes), swapped.json (reconstructions with y swapped) and figures."
)


def latents(
    run: AaeRun,
    out: Annotated[
        Path | None, typer.Option(help="Folder for what is made; RUN/latents by default.")
    ] = None,
    fold: Annotated[str, typer.Option(help="Only this fold's network.")] = "",
    seed: Annotated[
        int | None, typer.Option(help="Whose networks; the lowest that there is by default.")
    ] = None,
    data: Data = None,
    figures: Annotated[bool, typer.Option(help="Draw figures as PNG and PDF.")] = True,
    jobs: Annotated[int, typer.Option(help="Threads; 0 is one per core.")] = 0,
) -> None:
    """Export, probe, draw and swap codes; see HELP."""
    if jobs < 0:
        raise UsageError(f"--jobs {jobs}: give a number from 0 on")
    with needing("latents", "data,report,train"), written(out or run):
        from voicetone.training.aae_latents import use_latents

        folder = use_latents(
            run, out, fold=fold, seed=seed, data=data or (), figures=figures, jobs=jobs
        )
    say((folder / "latents.md").read_text(encoding="utf-8"))
    say(f"{folder}\n")
