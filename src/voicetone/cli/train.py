"""`voicetone train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voicetone.cli.output import needing, say
from voicetone.errors import UsageError


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="One experiment.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Values that differ from the recipe's."),
    ] = None,
) -> None:
    """Train the model that a recipe describes."""
    values = overrides or []
    for value in values:
        if "=" not in value.lstrip("="):
            raise UsageError(f"{value}: not of the form key=value, as in epochs=3")
    if not recipe.is_file():
        raise UsageError(f"{recipe}: no such recipe: name a .toml file")
    with needing("train", "train"):
        from voicetone.training import run

        folder = run.train(recipe, values)
    say(f"{folder}\n")
