"""The front end's part of a recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from voicetone.features.spectral import SpectralConfig
from voicetone.models.front import FrontConfig


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class FrontSizes:
    """Sizes of the front end; see `voicetone.models.front.FrontConfig`."""

    width: Annotated[int, Field(ge=4, le=4096)] = 160
    stem: tuple[Annotated[int, Field(ge=1, le=512)], Annotated[int, Field(ge=1, le=512)]] = (16, 32)
    expand: Annotated[int, Field(ge=1, le=8)] = 2
    kernel: Annotated[int, Field(ge=2, le=63)] = 7
    dilations: Annotated[
        tuple[Annotated[int, Field(ge=1, le=64)], ...], Field(min_length=1, max_length=64)
    ] = (1, 1, 2, 2, 4, 4)
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1


def front_config(
    sizes: FrontSizes, spectral: SpectralConfig, dropout: float | None = None
) -> FrontConfig:
    """The front end's sizes with those of its features.

    Args:
        sizes: of the recipe.
        spectral: the features.
        dropout: in place of the recipe's, where a stage wants another.
    """
    return FrontConfig(
        mels=spectral.mels,
        lags=spectral.lags,
        stem=sizes.stem,
        width=sizes.width,
        expand=sizes.expand,
        kernel=sizes.kernel,
        dilations=sizes.dilations,
        dropout=sizes.dropout if dropout is None else dropout,
    )
