"""Reconstructions with y swapped, with a decoder and an encoder whose work is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from voicetone.features.sets import FeatureConfig, extractor
from voicetone.models.aae import Aae, AaeConfig
from voicetone.models.replicas import Draws
from voicetone.training.aae_swap import Swaps
from voicetone.training.aae_trained import Codes, Network
from voicetone.training.protocol import Fold
from voicetone.training.replica_checkpoint import Checkpoint
from voicetone.training.replica_data import Scaling, Values
from voicetone.training.replica_fit import Examples
from voicetone.training.systems_recipe import SystemFeatures

NAMES = extractor(FeatureConfig("mfcc", "functionals")).names
SIZE = len(NAMES)
CLASSES = ("anger", "neutral")


class KnownDecoder(nn.Module):
    """x̂ is a row of its own for each class; z is not looked at."""

    def __init__(self, rows: Tensor, frames: int = 0) -> None:
        super().__init__()
        self.rows, self.frames = rows, frames

    def forward(self, ys: list[Tensor], z: Tensor) -> Tensor:
        found = ys[0] @ self.rows
        return found[:, :, None].repeat(1, 1, self.frames, 1) if self.frames else found


class KnownEncoder(nn.Module):
    """Reads `anger` where the first feature is above 0."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        first = x[..., 0] if mask is None else x[..., 0].sum(2)
        return [torch.stack([first, -first], 2)], x


def swapped(rows: Tensor, values: list[Any], frames: int = 0) -> dict[str, Any]:
    """What is found for two test utterances, the last of `values`, whose y is undecided."""
    width = rows.shape[1]
    config = AaeConfig(inputs=width, classes=(2,), style=2, frames=frames)
    net = Aae(AaeConfig(inputs=width, classes=(2,), style=2), Draws([0])).eval()
    net.decoder, net.encoder = KnownDecoder(rows, frames), KnownEncoder()  # type: ignore[assignment]
    mean, scale = torch.zeros(1, width).double(), torch.ones(1, width).double()
    checkpoint = Checkpoint(
        net, config, (CLASSES,), SystemFeatures("mfcc", frames=frames), "f", 0, mean, scale
    )
    made = Values(values, frames, torch.device("cpu"))
    if not frames:  # no normalisation between what is given and what is heard
        made.x = torch.from_numpy(np.stack(values))
    count = len(values)
    scaling = Scaling(
        torch.arange(count)[None],
        torch.zeros(1, count, dtype=torch.int64),
        mean.float()[None],
        scale.float()[None],
        10.0,
    )
    y = np.full((count, 2), 0.5, dtype=np.float32)
    y[:, 0] += 0.01
    codes = Codes(
        Network(Fold("f", (), (), ()), Path("x"), checkpoint),
        [y],
        np.zeros((count, 2), dtype=np.float32),
        np.arange(count - 2),
        np.arange(0),
        np.arange(count - 2, count),
    )
    swaps = Swaps(0, CLASSES)
    swaps.add(codes, Examples(made, (np.zeros((count, 1), dtype=np.int64),), (2,)), scaling)
    return swaps.results()


@pytest.fixture
def values() -> list[Any]:
    """SD 2 of every feature over the four training utterances, mean 0."""
    return [np.full(SIZE, v, dtype=np.float32) for v in (-2.0, 2.0, -2.0, 2.0, 1.0, 1.0)]


def test_distances_and_features(values: list[Any]) -> None:
    rows = torch.zeros(2, SIZE)
    rows[0, 0], rows[1, 0] = 1.0, -1.0
    rows[1, 7] = 6.0
    found = swapped(rows, values)
    assert found["utterances"] == 2
    (pair,) = found["between"]
    assert (pair["from"], pair["to"]) == CLASSES
    assert pair["features"][0] == {"feature": NAMES[7], "change": pytest.approx(3.0)}  # in SDs
    assert pair["features"][1] == {"feature": NAMES[0], "change": pytest.approx(-1.0)}
    assert pair["features"][2]["change"] == 0
    assert pair["rms"] == pytest.approx(np.sqrt((9 + 1) / SIZE))
    assert found["error_of_the_mean"] == pytest.approx(0.25)  # 1 is half an SD off
    x_hat = 0.51 * rows[0] + 0.5 * rows[1]
    error = float(((x_hat - 1) / 2).square().mean())
    assert found["reconstruction_error"] == pytest.approx(error, rel=1e-5)
    anger, neutral = found["by_class"]
    assert anger["moved"] == pytest.approx(float(((rows[0] - x_hat) / 2).square().mean().sqrt()))
    assert neutral["error"] == pytest.approx(float(((rows[1] - 1) / 2).square().mean()))


@pytest.mark.parametrize(("second", "share"), [(-1.0, 1.0), (1.0, 0.0)])
def test_what_is_read_back(values: list[Any], second: float, share: float) -> None:
    rows = torch.zeros(2, SIZE)
    rows[0, 0], rows[1, 0] = 1.0, second
    found = swapped(rows, values)
    assert [c["read_back"] for c in found["by_class"]] == [1.0, share]
    assert found["read_back_swapped"] == (1 + share) / 2
    assert found["read_back_unswapped"] == 1.0  # own y is anger, by a little


def test_frames_beyond_the_end_count_for_nothing() -> None:
    width = len(extractor(FeatureConfig("mfcc", "frames")).names)
    rng = np.random.default_rng(0)
    values = [rng.standard_normal((n, width)).astype(np.float32) for n in (20, 32, 9, 32, 12, 30)]
    rows = torch.zeros(2, width)
    rows[0, 3], rows[1, 3] = 1.0, -1.0
    found = swapped(rows, values, frames=32)
    (pair,) = found["between"]
    assert pair["features"][0]["feature"] == extractor(FeatureConfig("mfcc", "frames")).names[3]
    assert pair["features"][0]["change"] == pytest.approx(-2.0, rel=0.2)  # SD of about 1
    assert found["by_class"][0]["moved"] == pytest.approx(0.99 / np.sqrt(width), rel=0.2)
