"""The d-vector's network as an ONNX graph in the cache, made once.

python -m voicetone.training.dvector_export
"""

from __future__ import annotations

import sys
from pathlib import Path

from voicetone.errors import DataError, MissingExtraError, VoicetoneError
from voicetone.features.cache import write_whole
from voicetone.features.dvector import BANDS, PART, graph_path


def ensure_dvector(root: Path | None = None) -> Path:
    """The graph `mel [B, 160, 40]` → `embedding [B, 256]`; converted if it is not there yet.

    Args:
        root: the folder; see `graph_path`.

    Raises:
        DataError: the weights are not installed or not those that are known, or the file can't be
            written.
        MissingExtraError: PyTorch or its exporter is not installed.
    """
    path = graph_path(root)
    if path.is_file():
        return path
    try:
        import torch

        from voicetone.models.dvector import read_network, weights_path
        from voicetone.training.tone_export import exported
    except ModuleNotFoundError:
        raise MissingExtraError("to convert the d-vectors' network", "train") from None
    net = read_network(weights_path())
    mel = torch.rand(2, PART, BANDS, generator=torch.Generator().manual_seed(0))
    free = {0: "batch"}
    graph = exported(net, (mel,), {"mel": free}, {"embedding": free})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, graph)
    except OSError as error:
        raise DataError(
            f"{path}: can't be written ({error.strerror}): set VOICETONE_CACHE to another folder"
        ) from None
    return path


if __name__ == "__main__":
    try:
        print(ensure_dvector())
    except VoicetoneError as problem:
        print(problem, file=sys.stderr)
        sys.exit(problem.exit_code)
