"""The network behind Resemblyzer's d-vectors: three LSTM layers, a dense one, unit length.

L. Wan, Q. Wang, A. Papir, I. Lopez Moreno: Generalized End-to-End Loss for Speaker Verification,
ICASSP 2018. The published weights (Apache-2.0) are read from the installed package and are no
part of voicetone; that package's code is not run.
"""

from __future__ import annotations

import hashlib
import io
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voicetone.errors import DataError
from voicetone.features.dvector import BANDS, INSTALL, PACKAGE, SIZE, WEIGHTS_SHA256

_LAYERS = 3
_MOST = 2**26  # bytes; the published file has 17 MB


class DVectorNet(nn.Module):
    """Mel power of 1.6 s → an embedding whose values are 0 or more."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(BANDS, SIZE, _LAYERS, batch_first=True)
        self.linear = nn.Linear(SIZE, SIZE)

    def forward(self, mel: Tensor) -> Tensor:
        """`[B, frames, 40]` → `[B, 256]` of unit length."""
        steps, _ = self.lstm(mel)
        return F.normalize(torch.relu(self.linear(steps[:, -1])), dim=1)


def weights_path() -> Path:
    """The weights' file in the installed package, found without importing it.

    Raises:
        DataError: it is not installed, or without its weights.
    """
    try:
        found = Path(str(distribution(PACKAGE).locate_file("resemblyzer/pretrained.pt")))
    except PackageNotFoundError:
        raise DataError(f"d-vectors need the weights in a package: {INSTALL}") from None
    if not found.is_file():
        raise DataError(f"{found}: the weights of the d-vectors are not there: {INSTALL}")
    return found


def read_network(path: Path, sha256: str = WEIGHTS_SHA256) -> DVectorNet:
    """The network with published weights, in evaluation mode.

    Args:
        path: of the weights, a file of PyTorch's; only tensors in it are read.
        sha256: what the file must have; checked before anything in it is read.

    Raises:
        DataError: another file than that, or one without these weights.
    """
    try:
        if path.stat().st_size > _MOST:
            raise DataError(f"{path}: too large for weights of d-vectors: {INSTALL}")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: the weights of the d-vectors can't be read ({error.strerror}): {INSTALL}"
        ) from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(f"{path}: other weights than those of the known d-vectors: {INSTALL}")
    net = DVectorNet()
    try:
        kept = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        state = kept["model_state"]
        # The two values left out scale the similarities in the loss of its training.
        net.load_state_dict({name: state[name] for name in net.state_dict()})
    except Exception as error:  # whatever a file makes of the reader, whose advice is no good
        raise DataError(
            f"{path}: no weights of d-vectors in it ({type(error).__name__}): {INSTALL}"
        ) from None
    return net.eval().requires_grad_(False)
