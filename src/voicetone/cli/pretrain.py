"""`voicetone pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voicetone.cli.output import needing
from voicetone.cli.train import train
from voicetone.errors import UsageError

KIND = "pretrain"


def pretrain(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="One pretraining.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Values that differ from the recipe's."),
    ] = None,
) -> None:
    """Pretrain the streaming front end on audio without labels."""
    if recipe.is_file() and all("=" in word.lstrip("=") for word in overrides or []):
        with needing("pretrain", "train"):
            from voicetone.training.recipe import read_recipe

            kind = read_recipe(recipe, overrides or []).get("kind")
        if kind != KIND:
            raise UsageError(
                f'{recipe}: of kind {kind!r}, and a pretraining is of kind "{KIND}": use voicetone '
                "train for others"
            )
    train(recipe, overrides)
