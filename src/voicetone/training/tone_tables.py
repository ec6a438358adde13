"""Per-fold predictions on disk: Parquet for clips, compressed arrays for frames of speech."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voicetone.errors import DataError, MissingExtraError
from voicetone.types import Floats


@dataclass(frozen=True)
class FoldPredictions:
    """What one fold's network said of clips that it never learnt from."""

    ids: Sequence[str]
    parts: Sequence[str]
    """`validation` or `test`, for each clip."""
    sentiment: Floats
    """Logits `[n, 3]`."""
    emotion: Floats
    """Logits `[n, emotions]`."""
    speech: Sequence[Floats]
    """For each clip `[2, frames]`: probability of speech, and the label."""
    noise: Sequence[tuple[str, Floats]]
    """For each noise clip its part and the probability of speech `[frames]`."""


def write_fold(folder: Path, predictions: FoldPredictions) -> None:
    """Write a fold's predictions; a file `done` is made last."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("training", "data,train") from error

    folder.mkdir(parents=True, exist_ok=True)
    columns: dict[str, object] = {"id": list(predictions.ids), "part": list(predictions.parts)}
    for name, values in (("sentiment", predictions.sentiment), ("emotion", predictions.emotion)):
        for k in range(values.shape[1]):
            columns[f"{name}_{k}"] = values[:, k].astype(np.float32)
    pq.write_table(pa.table(columns), folder / "predictions.parquet")
    np.savez_compressed(
        folder / "speech.npz",
        frames=np.concatenate(predictions.speech, axis=1).astype(np.float16),
        lengths=np.array([p.shape[1] for p in predictions.speech]),
        noise=np.concatenate(
            [p for _, p in predictions.noise] or [np.zeros(0, dtype=np.float32)]
        ).astype(np.float16),
        noise_lengths=np.array([len(p) for _, p in predictions.noise], dtype=np.int64),
        noise_test=np.array([part == "test" for part, _ in predictions.noise], dtype=bool),
    )
    (folder / "done").touch()


def read_fold(folder: Path) -> FoldPredictions:
    """The predictions of a fold.

    Raises:
        DataError: the folder lacks them.
    """
    import pyarrow.parquet as pq

    if not (folder / "done").exists():
        raise DataError(f"{folder}: no predictions here; train this fold again")
    table = pq.read_table(folder / "predictions.parquet")
    with np.load(folder / "speech.npz", allow_pickle=False) as arrays:
        frames, lengths = arrays["frames"].astype(np.float32), arrays["lengths"]
        noise, noise_lengths = arrays["noise"].astype(np.float32), arrays["noise_lengths"]
        tested = arrays["noise_test"]

    def columns(prefix: str) -> Floats:
        names = [n for n in table.column_names if n.startswith(f"{prefix}_")]
        if not names:
            return np.zeros((table.num_rows, 0), dtype=np.float32)
        return np.stack([table[n].to_numpy() for n in names], axis=1).astype(np.float32)

    return FoldPredictions(
        ids=table["id"].to_pylist(),
        parts=table["part"].to_pylist(),
        sentiment=columns("sentiment"),
        emotion=columns("emotion"),
        speech=np.split(frames, np.cumsum(lengths)[:-1], axis=1),
        noise=[
            ("test" if test else "validation", clip)
            for test, clip in zip(
                tested, np.split(noise, np.cumsum(noise_lengths)[:-1]), strict=True
            )
        ]
        if len(noise_lengths)
        else [],
    )
