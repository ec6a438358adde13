"""`voicetone features`: what a corpus sounds like in numbers, for whatever one likes to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voicetone.cli.output import complain, say, written
from voicetone.errors import DataError, UsageError

if TYPE_CHECKING:
    from voicetone.corpora.manifest import Manifest
    from voicetone.features.extract import Features

ENDINGS = (".npz", ".csv", ".parquet")
HELP = (
    "Extract features of a corpus, on all cores, into the cache that training uses.\n\nWith --out "
    "they are also written as .npz (one array per utterance), .csv or .parquet (one row per "
    "utterance, functionals only)."
)


def features(
    corpus: Annotated[
        str, typer.Argument(metavar="MANIFEST|CORPUS", help="A manifest, a folder or a corpus.")
    ],
    feature_set: Annotated[
        str,
        typer.Option("--set", help="ComParE_2016, IS13, IS10, eGeMAPSv02, logmel, mfb, mfcc, ssl."),
    ] = "ComParE_2016",
    level: Annotated[str, typer.Option(help="functionals or frames.")] = "",
    cut_seconds: Annotated[
        float | None, typer.Option(help="Hear only so many seconds from the start.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="With --set ssl: the folder of a self-supervised model.")
    ] = "",
    layer: Annotated[
        int | None, typer.Option(help="With --set ssl: which hidden state; 0 is before layer 1.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help=f"{', '.join(ENDINGS)}.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes; 0 is one per core.")] = 0,
) -> None:
    """Extract features; see HELP."""
    from voicetone.features.extract import extract
    from voicetone.features.sets import FeatureConfig

    config = FeatureConfig(feature_set, level, cut_seconds, model, layer)  # type: ignore[arg-type]
    if jobs < 0:
        raise UsageError(f"--jobs {jobs}: give a number of processes, or 0 for one per core")
    if out is not None and out.suffix not in ENDINGS:
        raise UsageError(f"--out {out}: features are written as {', '.join(ENDINGS)}")
    if out is not None and out.suffix != ".npz" and not config.functionals:
        raise UsageError(f"--out {out}: frames are written as .npz")
    manifest = read_named(corpus)
    found = extract(manifest.utterances, config, jobs=jobs or None)
    for line in found.failures.values():
        complain(line)
    if out is not None:
        with written(out):
            _write(out, manifest, found)
    say(
        f"{config}: {len(found.values)} utterances, {len(found.names)} features, "
        f"{found.computed} computed, {len(found.failures)} failed\n"
    )
    if found.failures:
        raise typer.Exit(DataError.exit_code)


def read_named(name: str) -> Manifest:
    """The manifest of a corpus known by name, of a prepared folder or in a file."""
    from voicetone.corpora.prepared import CORPORA, read_prepared
    from voicetone.corpora.tables import read_manifest

    path = Path(name)
    if name in CORPORA and not path.exists():
        return read_prepared(name)
    return read_manifest(path / "manifest.csv" if path.is_dir() else path)


def _write(out: Path, manifest: Manifest, found: Features) -> None:
    import numpy as np

    unfinished = out.with_name(f".{out.name}.part{out.suffix}")
    known = [u for u in manifest if u.id in found.values]
    if out.suffix == ".npz":
        with unfinished.open("wb") as file:
            arrays: dict[str, Any] = {u.id: found.values[u.id] for u in known}
            np.savez(file, **{**arrays, "names": np.array(found.names)})
        unfinished.replace(out)
        return
    columns: dict[str, list[Any]] = {
        "id": [u.id for u in known],
        "speaker": [u.speaker or "" for u in known],
        "emotion": [u.emotion or "" for u in known],
    }
    values = np.stack([found.values[u.id] for u in known]) if known else np.zeros((0, 0))
    if out.suffix == ".parquet":
        _write_parquet(unfinished, columns, found.names, values)
    else:
        import csv

        with unfinished.open("w", newline="", encoding="utf-8") as text:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow([*columns, *found.names])
            heads = zip(*columns.values(), strict=True)
            for head, row in zip(heads, values.tolist(), strict=True):
                writer.writerow([*head, *(f"{v:.7g}" for v in row)])
    unfinished.replace(out)


def _write_parquet(
    path: Path, columns: dict[str, list[Any]], names: tuple[str, ...], values: Any
) -> None:
    from voicetone.errors import MissingExtraError

    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("Parquet", "data") from error
    for place, name in enumerate(names):
        columns[name] = values[:, place]
    pq.write_table(pa.table(columns), path, compression="zstd")
