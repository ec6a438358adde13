"""`voicetone latents`: what the codes of trained autoencoders hold."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

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
from voicetone.training.replica_data import Scaling
from voicetone.training.replica_fit import Examples, threads
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
        _require_matplotlib()
    run = open_run(path, fold=fold, seed=seed, data=data)
    _require_ours(out)
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
        _write(out / "swapped.json", _as_json(swapped))
    _write(out / "latents.json", _as_json(found))
    _write(out / "latents.md", markdown(found, swapped, [n for n in drawn if n.endswith(".png")]))
    return out


def _require_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("figures", "report") from error


def _require_ours(out: Path) -> None:
    """That nothing else is written over."""
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
                {
                    "fold": c.network.fold.name,
                    "checkpoint": str(c.network.path.relative_to(run.path)),
                    "trained_on": self._speakers(c.train),
                    "validated_on": self._speakers(c.validation),
                    "tested_on": self._speakers(c.test),
                    "finished": has_predictions(run, c.network),
                }
                for c in self.codes
            ],
            "probes": self.probes.results(),
            "not_asked": self.without,
        }

    def _speakers(self, rows: Any) -> list[str]:
        names = {self.run.material.utterances[i].speaker for i in rows.tolist()}
        return sorted(n for n in names if n is not None)

    def write(self, out: Path) -> None:
        """`latents.parquet`: one row per test utterance and network."""
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise MissingExtraError("Parquet", "data") from error
        material, run = self.run.material, self.run
        rows = np.concatenate([c.test for c in self.codes])
        spoken = [material.utterances[i] for i in rows.tolist()]
        columns: dict[str, Any] = {
            "id": [u.id for u in spoken],
            "fold": [c.network.fold.name for c in self.codes for _ in c.test],
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
        for place, target in enumerate(run.targets):
            whole = np.concatenate([c.ys[place][c.test] for c in self.codes])
            before = f"{target}_" if len(run.targets) > 1 else ""
            for index, label in enumerate(run.networks[0].checkpoint.labels[place]):
                columns[f"y_{before}{label}"] = whole[:, index]
        zs = [c.z[c.test] for c in self.codes if c.z is not None]
        if zs:
            z = np.concatenate(zs)
            columns |= {f"z_{i:03d}": z[:, i] for i in range(z.shape[1])}
        facts = {
            "run": run.name,
            "recipe": run.folder.recipe_hash,
            "folds": run.folder.table.hash,
            "seed": str(run.seed),
            "split": "held-out speakers of each fold, by that fold's network; axes of y and z are "
            "a network's own",
        }
        table = pa.table(columns).replace_schema_metadata(facts)
        unfinished = out / f".{uuid.uuid4().hex}"
        pq.write_table(table, unfinished, compression="zstd")
        unfinished.replace(out / "latents.parquet")

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


def _as_json(found: Any) -> str:
    def rounded(value: Any) -> Any:
        if isinstance(value, float):
            return round(value, 5) if np.isfinite(value) else None
        if isinstance(value, dict):
            return {k: rounded(v) for k, v in value.items()}
        return [rounded(v) for v in value] if isinstance(value, list) else value

    return json.dumps(rounded(found), indent=1, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{uuid.uuid4().hex}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
