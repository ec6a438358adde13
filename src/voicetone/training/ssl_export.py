"""A self-supervised front end as an ONNX graph: samples and their lengths in, frames out."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from voicetone.errors import DataError
from voicetone.models.ssl import SslFront
from voicetone.training.tone_export import exported

_MOST = 1_900_000_000  # bytes of weights: one ONNX file holds 2 GiB


class _Heard(nn.Module):
    def __init__(self, front: SslFront) -> None:
        super().__init__()
        self.front = front

    def forward(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return self.front.heard(samples, lengths)


def export(front: SslFront, path: Path) -> None:
    """Write a graph of `samples [B, n]` and `lengths [B]` (int64) → `frames`, `real`.

    Batch and length are free; nothing in the graph looks at the lengths, so that they must be as
    `SslFront.forward` wants them. Samples beyond Whisper's window are not heard.

    Args:
        front: left in evaluation mode.
        path: the file.

    Raises:
        DataError: more weights than one file holds, or the file can't be written.
    """
    bytes_ = sum(p.numel() * p.element_size() for p in front.parameters())
    if bytes_ > _MOST:
        raise DataError(
            f"{front.found.folder}: {bytes_ / 1e9:.1f} GB of weights don't go into one ONNX file: "
            "take a lower layer or a smaller model"
        )
    # Long enough for two frames, so that no axis looks as if it were always 1.
    count = max(2 * front.found.shortest, 4 * front.found.hop)
    samples = 0.1 * torch.randn(2, count, generator=torch.Generator().manual_seed(0))
    free = {0: "batch", 1: "samples"}
    out = {0: "batch", 1: "frames"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = exported(
            _Heard(front).cpu(),
            (samples, torch.tensor([count, count - front.found.hop])),
            {"samples": free, "lengths": {0: "batch"}},
            {"frames": out, "real": out},
        )
    try:
        path.write_bytes(graph)
    except OSError as error:
        raise DataError(
            f"{path}: can't be written ({error.strerror}): choose another place"
        ) from None
