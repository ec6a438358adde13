"""`voicetone latents` of codes on a mixture: do strangers' codes follow it, what do they hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from voicetone.errors import DataError
from voicetone.evaluation.metrics import uar
from voicetone.features.workers import ProgressLines
from voicetone.models.gmm_aae import Mixture
from voicetone.training.aae_figures import draw_curves
from voicetone.training.aae_latents import (
    SPLIT,
    require_matplotlib,
    require_ours,
    trained_facts,
    write_rows,
)
from voicetone.training.aae_probes import Probes, questions
from voicetone.training.aae_trained import inputs, scaling_of, summed
from voicetone.training.gmm_figures import animate, draw_plane, panels
from voicetone.training.gmm_fit import encode
from voicetone.training.gmm_latents_text import markdown
from voicetone.training.gmm_trained import CodesNetwork, CodesRun, open_codes
from voicetone.training.replica_data import Rows
from voicetone.training.replica_fit import Examples, threads
from voicetone.training.systems_data import examples, labelled_part
from voicetone.training.systems_trained import changed
from voicetone.training.written import as_json, write_text
from voicetone.types import Floats

PLANE, STRANGERS = "plane", "plane-strangers"
"""Figures of one network's codes, and of the test utterances of all networks."""
_SAME = 0.05  # a code that has moved further than this is another one, not rounding
_TRAINING = 0  # `part` of a training utterance in snapshots


def use_codes(
    path: Path,
    out: Path | None = None,
    *,
    fold: str = "",
    seed: int | None = None,
    data: Sequence[Path] = (),
    figures: bool = True,
    moving: bool = False,
    jobs: int = 0,
) -> Path:
    """Export, probe and draw the codes of one system's networks, and tell how they match.

    Writes `latents.parquet`, `latents.json`, `latents.md`, and figures.

    Args:
        path: `OUT/TARGET/SYSTEM` of a run of `kind = "gmm-aae"`.
        out: the folder; `path/latents` if not given.
        fold: this fold's network only.
        seed: whose networks; the lowest that there is if not given.
        data: where the corpora lie, see `open_codes`.
        figures: whether to draw.
        moving: whether to draw how codes moved over the training, which takes a minute.
        jobs: threads, and processes for features; 0 is one per core.

    Returns:
        The folder.

    Raises:
        UsageError: a fold or seed that the run does not have.
        DataError: no such run, no mixture in it, no weights, data that have changed, a folder of
            something else, or nothing that could move.
        MissingExtraError: figures without matplotlib, openSMILE is not installed.
    """
    out = out or path / "latents"
    if figures or moving:
        require_matplotlib()
    run = open_codes(path, fold=fold, seed=seed, data=data)
    require_ours(out)
    moved = _snapshots(run) if moving else None
    loaded = examples(run.found, run.networks[0].checkpoint.features, jobs, torch.device("cpu"))
    with threads(jobs):
        collected = _Collected(run)
        report = ProgressLines("latents: networks")
        for done, network in enumerate(run.networks):
            report(done, len(run.networks))
            collected.add(network, loaded)
        report(len(run.networks), len(run.networks))
    out.mkdir(parents=True, exist_ok=True)
    collected.write(out)
    if figures:
        collected.draw(out)
    if moved is not None:
        moved.draw(run, out)
    found = collected.told()
    write_text(out / "latents.json", as_json(found))
    drawn = sorted(p.name for kind in ("png", "gif") for p in out.glob(f"*.{kind}"))
    write_text(out / "latents.md", markdown(found, drawn))
    return out


@dataclass(frozen=True)
class _Codes:
    """What one network makes of every utterance of the run's corpora."""

    network: CodesNetwork
    codes: Floats
    """`[n, size]`."""
    posterior: Floats
    """Probability of each component `[n, classes]`."""
    train: Rows
    labelled: Rows
    """Those of `train` whose labels the network learnt."""
    test: Rows
    finished: bool

    @property
    def mixture(self) -> Mixture:
        """What the codes are to follow."""
        return self.network.checkpoint.config.mixture


class _Collected:
    """What is gathered over the networks of a run."""

    def __init__(self, run: CodesRun) -> None:
        self.run = run
        material = run.material
        self.labels = [material.labels[t] for t in material.truth]
        target = run.settings["target"]["name"]
        asked, self.without = questions(material.utterances, target, self.labels)
        self.probes = Probes(asked, run.seed)
        self.codes: list[_Codes] = []

    def add(self, network: CodesNetwork, data: Examples) -> None:
        """Encode all utterances with one network, and probe the codes."""
        every = np.arange(len(self.run.material.utterances))
        # What it asks of a run all kinds have.
        scaling = scaling_of(network.checkpoint, data.values, cast(Any, self.run))
        codes = encode(network.checkpoint.net, data, scaling, [every])[0]
        found = _coded(self.run, network, codes)
        heard = summed(*inputs(data.values, scaling, every))
        self.probes.add({"codes": codes, "features": heard}, found.test)
        self.codes.append(found)

    def told(self) -> dict[str, Any]:
        """What goes into `latents.json`."""
        run, material = self.run, self.run.material
        system = run.recipe.systems[0]
        sizes = sorted({c.mixture.size for c in self.codes})
        return {
            "run": run.name,
            "seed": run.seed,
            "protocol": material.table.protocol,
            "label": material.rule,
            "utterances": len(material.utterances),
            "folds": len(run.folds),
            "sizes": sizes,
            "mixture": asdict(self.codes[0].mixture),
            "features": run.networks[0].checkpoint.config.inputs,
            "exported": {"utterances": int(sum(len(c.test) for c in self.codes)), "split": SPLIT},
            "networks": [
                trained_facts(run, c.network.path, c.network.fold)
                | {"size": c.mixture.size, "finished": c.finished, "reached": self._reached(c)}
                for c in self.codes
            ],
            "match": _match(run),
            "classifiers_use": "stretched" if system.stretch else "codes",
            "likeliest_component": self._likeliest(),
            "probes": self.probes.results(),
            "not_asked": self.without,
        }

    def _likeliest(self) -> dict[str, Any]:
        """How often the likeliest component is that of the class, over the exported utterances."""
        truth = np.concatenate([self.run.material.truth[c.test] for c in self.codes])
        said = np.concatenate([c.posterior[c.test].argmax(1) for c in self.codes])
        recalls = _recalls(truth, said, self.run.material.labels)
        count = np.bincount(truth, minlength=len(recalls)).tolist()
        rows = {
            label: {"utterances": n, "recall": recall}
            for (label, recall), n in zip(recalls.items(), count, strict=True)
        }
        return {"uar": uar(truth, said), "components": rows}

    def _reached(self, c: _Codes) -> dict[str, float | None]:
        """Share of each class's labelled training utterances whose likeliest component is its own.

        Pooled over folds, a network that has left a component empty would go unseen.
        """
        material = self.run.material
        said = c.posterior[c.labelled].argmax(1)
        return _recalls(material.truth[c.labelled], said, material.labels)

    def write(self, out: Path) -> None:
        """`latents.parquet`: one row per test utterance and network."""
        widest = max(c.mixture.size for c in self.codes)
        codes = np.full((sum(len(c.test) for c in self.codes), widest), np.nan, dtype=np.float32)
        start = 0
        for c in self.codes:
            codes[start : start + len(c.test), : c.mixture.size] = c.codes[c.test]
            start += len(c.test)
        posterior = np.concatenate([c.posterior[c.test] for c in self.codes])
        values: dict[str, NDArray[Any]] = {f"code_{i}": codes[:, i] for i in range(widest)}
        values |= {f"p_{k}": posterior[:, i] for i, k in enumerate(self.run.material.labels)}
        tested = [(c.network.fold.name, c.test) for c in self.codes]
        write_rows(out, self.run, tested, values, "codes are on the same mixture in every network")

    def draw(self, out: Path) -> None:
        """Curves, the plane of the first network, and strangers of all networks."""
        run, first = self.run, self.codes[0]
        names = run.material.labels
        if (run.path / "curves").is_dir():
            draw_curves(run.path, out, panels(first.mixture))
        known = np.zeros(len(self.labels), dtype=bool)
        known[first.train] = True
        title = f"{run.name}, fold {first.network.fold.name}"
        draw_plane(first.codes, self.labels, known, first.mixture, names, out, title, PLANE)
        # Codes of other sizes, where each fold chose its own, are on another mixture.
        alike = [c for c in self.codes if c.mixture.size == first.mixture.size]
        codes = np.concatenate([c.codes[c.test] for c in alike])
        labels = [self.labels[i] for c in alike for i in c.test.tolist()]
        title = f"{run.name}, strangers of {len(alike)} of {len(run.folds)} folds"
        everyone = np.ones(len(labels), dtype=bool)
        draw_plane(codes, labels, everyone, first.mixture, names, out, title, STRANGERS)


def _recalls(truth: Rows, said: NDArray[np.intp], labels: Sequence[str]) -> dict[str, float | None]:
    """Recall of each class; None of one that is not there."""
    return {
        label: float((said[truth == place] == place).mean()) if (truth == place).any() else None
        for place, label in enumerate(labels)
    }


def _coded(run: CodesRun, network: CodesNetwork, codes: Floats) -> _Codes:
    """One network's codes, once they are what the run has kept.

    Raises:
        DataError: codes that are no numbers, or others than those of the run.
    """
    bad = int((~np.isfinite(codes)).any(1).sum())
    if bad:
        raise DataError(
            f"{network.path}: its codes of {bad} of {len(codes)} utterances are no numbers; lower "
            "the system's rate, or give clip, and train again"
        )
    material, fold = run.material, network.fold
    rows = material.rows(fold.train)
    place = material.table.folds.index(fold)
    share = run.recipe.systems[0].labelled
    labelled = labelled_part(rows, material.truth[rows], share, (run.seed, place))
    mixture = network.checkpoint.config.mixture
    if network.checkpoint.labels != (tuple(material.labels),):
        raise changed(run.path)
    counts = np.bincount(material.truth[labelled], minlength=mixture.classes)
    posterior = mixture.posterior(codes.astype(np.float64), counts / counts.sum())
    finished = run.folder.predictions_path(fold.name, run.seed).is_file()
    test = material.rows(fold.test)
    kept = run.folder.part("codes", fold.name, run.seed, "npz")
    if kept.is_file():
        _require_same(run, kept, codes[test], material.truth[test])
    return _Codes(network, codes, posterior.astype(np.float32), rows, labelled, test, finished)


def _require_same(run: CodesRun, kept: Path, codes: Floats, truth: Rows) -> None:
    """That codes and classes of the test utterances are those that the run has kept."""
    there = _arrays(kept, ("codes", "truth"))
    if not np.array_equal(there["truth"], truth) or there["codes"].shape != codes.shape:
        raise changed(run.path)
    apart = float(np.abs(there["codes"] - codes).max(initial=0))
    if not apart <= _SAME:
        raise DataError(
            f"{kept}: the weights give other codes now, by up to {apart:.2f}; the audio or "
            "openSMILE has changed since: train again"
        )


def _arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """What an NPZ file of a run holds.

    Raises:
        DataError: it does not hold that.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(f"{path}: no codes of a run ({error}); train again") from error


def _match(run: CodesRun) -> dict[str, Any] | None:
    """Of `metrics.json`: how codes of strangers match, as they are and stretched; None without."""
    try:
        told = json.loads((run.path / "metrics.json").read_text(encoding="utf-8"))
        found = told["convergence"]
        return {kind: found[f"match_{kind}"] for kind in ("codes", "stretched")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class _Snapshots:
    """How one network's codes moved over its training."""

    network: CodesNetwork
    epochs: NDArray[np.int64]
    codes: Floats
    truth: Rows
    known: NDArray[np.bool_]

    def draw(self, run: CodesRun, out: Path) -> Path:
        """`plane.gif`."""
        mixture = self.network.checkpoint.config.mixture
        title = f"{run.name}, fold {self.network.fold.name}"
        epochs, labels = self.epochs.tolist(), run.material.labels
        return animate(epochs, self.codes, self.truth, labels, self.known, mixture, out, title)


def _snapshots(run: CodesRun) -> _Snapshots:
    """Of the first network that has some.

    Raises:
        DataError: none has.
    """
    for network in run.networks:
        path = run.folder.part("snapshots", network.fold.name, run.seed, "npz")
        if path.is_file():
            there = _arrays(path, ("epochs", "codes", "truth", "part"))
            return _Snapshots(
                network,
                there["epochs"],
                there["codes"],
                there["truth"],
                there["part"] == _TRAINING,
            )
    names = sorted(p.stem for p in (run.path / "snapshots").glob("*.npz"))
    hint = f"there are some of {', '.join(names)} (fold and seed)" if names else "train again"
    raise DataError(
        f"{run.path}: no snapshots of these networks' training to animate; leave --animate out, "
        f"or {'choose others: ' if names else ''}{hint}"
    )
