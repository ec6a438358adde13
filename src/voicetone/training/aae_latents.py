"""`voicetone latents`: what the codes of trained autoencoders hold."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voicetone.errors import DataError, MissingExtraError
from voicetone.features.workers import ProgressLines
from voicetone.training.aae_figures import draw_codes, draw_curves
from voicetone.training.aae_latents_text import markdown
from voicetone.training.aae_probes import Probes, questions
from voicetone.training.aae_swap import Swaps
from voicetone.training.aae_trained import (
    Codes,
    TrainedRun,
    codes_of,
    has_predictions,
    heard,
    inputs,
    open_run,
    summed,
)
from voicetone.training.protocol import Fold
from voicetone.training.replica_data import Rows, Scaling
from voicetone.training.replica_fit import Examples, threads
from voicetone.training.systems_trained import OpenedRun
from voicetone.training.written import as_json, write_text
from voicetone.types import Floats

SPLIT = "test"


def use_latents(
    path: Path,
    out: Path | None = None,
    *,
    fold: str = "",
    seed: int | None = None,
    data: Sequence[Path] = (),
    figures: bool = True,
    jobs: int = 0,
) -> Path:
    """Export, probe, draw and swap the codes of one system's networks.

    Writes `latents.parquet`, `latents.json`, `latents.md`, with a decoder `swapped.json`, and
    figures.

    Args:
        path: `OUT/TARGET/SYSTEM` of a run of `kind = "aae"`.
        out: the folder; `path/latents` if not given.
        fold: this fold's network only.
        seed: whose networks; the lowest that there is if not given.
        data: where the corpora lie, see `open_run`.
        figures: whether to draw.
        jobs: threads, and processes for features; 0 is one per core.

    Returns:
        The folder.

    Raises:
        UsageError: a fold or seed that the run does not have.
        DataError: no such run, no weights, data that have changed, or a folder of something else.
        MissingExtraError: figures without matplotlib, openSMILE is not installed.
    """
    out = out or path / "latents"
    if figures:
        require_matplotlib()
    run = open_run(path, fold=fold, seed=seed, data=data)
    require_ours(out)
    loaded = heard(run, jobs)
    with threads(jobs):
        collected = _Collected(run)
        report = ProgressLines("latents: networks")
        for done, network in enumerate(run.networks):
            report(done, len(run.networks))
            codes, scaling = codes_of(run, network, loaded)
            collected.add(codes, loaded, scaling)
        report(len(run.networks), len(run.networks))
    out.mkdir(parents=True, exist_ok=True)
    collected.write(out)
    if figures:
        drawn = [p.name for p in draw_curves(path, out)] if (path / "curves").is_dir() else []
        drawn += collected.draw(out)
    else:
        drawn = sorted(p.name for p in out.glob("*.png"))
    found = collected.told()
    swapped = {name: s.results() for name, s in collected.swaps.items()}
    if swapped:
        write_text(out / "swapped.json", as_json(swapped))
    write_text(out / "latents.json", as_json(found))
    write_text(
        out / "latents.md", markdown(found, swapped, [n for n in drawn if n.endswith(".png")])
    )
    return out


def require_matplotlib() -> None:
    """That figures can be drawn.

    Raises:
        MissingExtraError: they can't.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("figures", "report") from error


def require_ours(out: Path) -> None:
    """That nothing else is written over.

    Raises:
        DataError: the folder holds something that `voicetone latents` has not made.
    """
    used = out.exists() and (not out.is_dir() or any(out.iterdir()))
    if used and not (out / "latents.parquet").is_file():
        raise DataError(f"{out}: holds something else than latents; choose another --out")


class _Collected:
    """What is gathered over the networks of a run."""

    def __init__(self, run: TrainedRun) -> None:
        self.run = run
        material = run.material
        labels = [material.labels[t] for t in material.truth]
        target = run.settings["target"]["name"]
        asked, self.without = questions(material.utterances, target, labels)
        self.probes = Probes(asked, run.seed)
        checkpoint = run.networks[0].checkpoint
        self.swaps = {
            name: Swaps(place, classes)
            for place, (name, classes) in enumerate(
                zip(run.targets, checkpoint.labels, strict=True)
            )
            if checkpoint.config.style
        }
        self.codes: list[Codes] = []

    def add(self, codes: Codes, data: Examples, scaling: Scaling) -> None:
        """Probe and swap one network's codes."""
        every = np.arange(len(self.run.material.utterances))
        spoken: dict[str, Floats] = {} if codes.z is None else {"z": codes.z}
        spoken["y"] = np.concatenate(codes.ys, axis=1)
        spoken["features"] = summed(*inputs(data.values, scaling, every))
        self.probes.add(spoken, codes.test)
        for swap in self.swaps.values():
            swap.add(codes, data, scaling)
        self.codes.append(codes)

    def told(self) -> dict[str, Any]:
        """What goes into `latents.json`."""
        run = self.run
        config = run.networks[0].checkpoint.config
        return {
            "run": run.name,
            "seed": run.seed,
            "protocol": run.material.table.protocol,
            "label": run.material.rule,
            "utterances": len(run.material.utterances),
            "folds": len(run.folds),
            "style": config.style,
            "features": config.inputs,
            "frames": config.frames,
            "exported": {"utterances": int(sum(len(c.test) for c in self.codes)), "split": SPLIT},
            "networks": [
                trained_facts(run, c.network.path, c.network.fold)
                | {"finished": has_predictions(run, c.network)}
                for c in self.codes
            ],
            "probes": self.probes.results(),
            "not_asked": self.without,
        }

    def write(self, out: Path) -> None:
        """`latents.parquet`: one row per test utterance and network."""
        run = self.run
        values: dict[str, Any] = {}
        for place, target in enumerate(run.targets):
            whole = np.concatenate([c.ys[place][c.test] for c in self.codes])
            before = f"{target}_" if len(run.targets) > 1 else ""
            for index, label in enumerate(run.networks[0].checkpoint.labels[place]):
                values[f"y_{before}{label}"] = whole[:, index]
        zs = [c.z[c.test] for c in self.codes if c.z is not None]
        if zs:
            z = np.concatenate(zs)
            values |= {f"z_{i:03d}": z[:, i] for i in range(z.shape[1])}
        tested = [(c.network.fold.name, c.test) for c in self.codes]
        write_rows(out, run, tested, values, "axes of y and z are a network's own")

    def draw(self, out: Path) -> list[str]:
        """z of the first network; names of the files."""
        codes, utterances = self.codes[0], self.run.material.utterances
        if codes.z is None:
            return []
        known = np.zeros(len(utterances), dtype=bool)
        known[codes.train] = True
        first = self.run.settings["target"]["name"]
        labels = [self.run.material.labels[t] for t in self.run.material.truth]
        speakers = [u.speaker or "unknown" for u in utterances]
        if len({u.corpus for u in utterances}) == 1:
            speakers = [name.rpartition("/")[2] for name in speakers]
        columns = [(first, labels), ("speaker", speakers)]
        title = f"{self.run.name}, fold {codes.network.fold.name}"
        return [p.name for p in draw_codes(codes.z, columns, known, out, title)]


def trained_facts(run: OpenedRun[Any, Any], path: Path, fold: Fold) -> dict[str, Any]:
    """What `latents.json` says of one network: its fold, its weights and its speakers."""
    utterances, rows = run.material.utterances, run.material.rows

    def speakers(ids: Sequence[str]) -> list[str]:
        names = {utterances[i].speaker for i in rows(ids).tolist()}
        return sorted(n for n in names if n is not None)

    return {
        "fold": fold.name,
        "checkpoint": str(path.relative_to(run.path)),
        "trained_on": speakers(fold.train),
        "validated_on": speakers(fold.validation),
        "tested_on": speakers(fold.test),
    }


def write_rows(
    out: Path,
    run: OpenedRun[Any, Any],
    tested: Sequence[tuple[str, Rows]],
    values: Mapping[str, NDArray[Any]],
    axes: str,
) -> None:
    """Write `latents.parquet`: one row per test utterance and network.

    Args:
        out: the folder.
        run: whose utterances.
        tested: name of each fold, and the places of its test utterances.
        values: columns after those of the utterances, over all of `tested`; NaN is null.
        axes: whether they can be compared over networks, in words.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("Parquet", "data") from error
    material = run.material
    rows = np.concatenate([test for _, test in tested])
    spoken = [material.utterances[i] for i in rows.tolist()]
    columns: dict[str, Any] = {
        "id": [u.id for u in spoken],
        "fold": [name for name, test in tested for _ in test],
        "speaker": [u.speaker for u in spoken],
        "corpus": [u.corpus for u in spoken],
        "label": [material.labels[material.truth[i]] for i in rows.tolist()],
        "sex": [u.sex for u in spoken],
        "age": pa.array([u.age for u in spoken], pa.float32()),
        "sentence": [u.sentence or u.transcript for u in spoken],
        "split": [SPLIT] * len(spoken),
    }
    for text in ("speaker", "sex", "sentence"):
        columns[text] = pa.array(columns[text], pa.string())
    columns |= {name: pa.array(each, from_pandas=True) for name, each in values.items()}
    facts = {
        "run": run.name,
        "recipe": run.folder.recipe_hash,
        "folds": run.folder.table.hash,
        "seed": str(run.seed),
        "split": f"held-out speakers of each fold, by that fold's network; {axes}",
    }
    table = pa.table(columns).replace_schema_metadata(facts)
    unfinished = out / f".{uuid.uuid4().hex}"
    pq.write_table(table, unfinished, compression="zstd")
    unfinished.replace(out / "latents.parquet")
