"""Arguments that several verbs have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AaeRun = Annotated[Path, typer.Argument(metavar="RUN", help="OUT/TARGET/SYSTEM of an aae run.")]
Data = Annotated[
    list[Path] | None,
    typer.Option(
        help="Where a corpus lies that is not below VOICETONE_DATA: its folder or manifest, or "
        "the folder that holds it. May be given several times."
    ),
]
