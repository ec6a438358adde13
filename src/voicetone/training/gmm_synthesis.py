"""`voicetone synthesize`: feature vectors that a trained network makes up, and how good they are.

Draws of a mixture's components are decoded and brought back to features as extracted. What comes
of it can't be mistaken for a corpus: each row says that it is synthetic, the file says what made
it, and readers of manifests refuse it.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voicetone import __version__
from voicetone.corpora.prepared import CORPORA as PREPARED
from voicetone.corpora.registry import CORPORA
from voicetone.corpora.tables import SYNTHETIC
from voicetone.errors import DataError, UsageError
from voicetone.features.cache import file_hash
from voicetone.features.sets import LICENCE, OPENSMILE, extractor
from voicetone.features.workers import ProgressLines
from voicetone.models.gmm_aae import Doubles
from voicetone.training.classifier_data import read_corpus
from voicetone.training.gmm_codes import made_up
from voicetone.training.gmm_quality import Quality, quality, words
from voicetone.training.gmm_synthesis_files import (
    MARK,
    TITLE,
    pyarrow_of,
    quality_place,
    require_ours,
    sidecar,
)
from voicetone.training.gmm_trained import CodesNetwork, CodesRun, open_codes
from voicetone.training.replica_data import Rows
from voicetone.training.replica_fit import threads
from voicetone.training.systems_data import feature_config, required_features
from voicetone.training.systems_trained import changed, settings_of
from voicetone.training.written import as_json, whole, write_text
from voicetone.types import Floats

ENDINGS = (".parquet", ".csv")
MOST = 100_000
"""Samples of a class."""
_PART = 1000  # samples that are in memory at once
_JUDGED = 500  # of each class: more would say no more beside one fold's held-out speakers
_NAMED = 12  # speakers that a page names; of more their number is told


@dataclass(frozen=True)
class _Maker:
    """What samples are drawn from."""

    run: CodesRun
    network: CodesNetwork
    places: tuple[int, ...]
    """Of the classes that are drawn."""
    draw_seed: int
    names: tuple[str, ...]
    """Of the features."""
    mean: Doubles
    """Of features as extracted `[features]`."""
    scale: Doubles

    @property
    def labels(self) -> tuple[str, ...]:
        """Of all classes."""
        return self.network.checkpoint.labels[0]


@dataclass(frozen=True)
class _Part:
    """Samples of one class that follow each other."""

    label: str
    first: int
    """Number of the first, from 0."""
    codes: Doubles
    normalised: Floats
    values: Floats
    """As extracted `[n, features]`."""


def synthesize(
    path: Path,
    out: Path,
    *,
    per_class: int = 100,
    fold: str = "",
    seed: int | None = None,
    draw_seed: int = 0,
    classes: Sequence[str] = (),
    data: Sequence[Path] = (),
    measure: bool = True,
    jobs: int = 0,
) -> str:
    """Draw samples from one network's mixture, decode and write them.

    Args:
        path: `OUT/TARGET/SYSTEM` of a run of `kind = "gmm-aae"`.
        out: the file, `.parquet` or `.csv`. CSV gets a `.json` beside it that says what made it.
        per_class: samples of each class. Fewer are the first of more.
        fold: whose network; the first fold's that was kept if not given.
        seed: whose network; the lowest that there is if not given.
        draw_seed: other numbers give other samples.
        classes: of these only; of all if empty.
        data: where corpora lie, see `open_folder`.
        measure: whether to compare the samples with real ones, in `.quality.json` and
            `.quality.md` beside the file. Features are extracted for this.
        jobs: threads, and processes for features; 0 is one per core.

    Returns:
        A page on the samples, in Markdown.

    Raises:
        UsageError: a number, ending, fold, seed or class that can't be.
        DataError: see `open_codes`; a system without a mixture, or whose training did not end;
            features normalised per speaker or corpus; too few real utterances to compare with; a
            file of something else.
        MissingExtraError: openSMILE or pyarrow is not installed.
        OSError: the file can't be written.
    """
    _require_sane(out, per_class, draw_seed)
    if out.suffix == ".parquet":
        pyarrow_of()  # before anything is computed
    files = require_ours(out)
    maker = _maker(path, fold, seed, draw_seed, classes, data)
    out.parent.mkdir(parents=True, exist_ok=True)
    with threads(jobs):
        found = _judged(maker, min(per_class, _JUDGED), jobs) if measure else None
        facts = _provenance(maker, per_class)
        page = _page(maker, per_class, found)
        with whole(out) as unfinished:
            _write_samples(maker, per_class, facts, unfinished)
            for file in files[1:]:  # of older samples: they must not outlive them
                file.unlink(missing_ok=True)
            if out.suffix == ".csv":
                write_text(sidecar(out), as_json({MARK: facts}))
        if found is not None:
            told = {MARK: facts, "quality": asdict(found)}
            write_text(quality_place(out, "json"), as_json(told))
            write_text(quality_place(out, "md"), page)
    return page


def _require_sane(out: Path, per_class: int, draw_seed: int) -> None:
    if out.suffix not in ENDINGS:
        raise UsageError(f"--out {out}: samples are written as {' or '.join(ENDINGS)}")
    if not 1 <= per_class <= MOST:
        raise UsageError(f"--per-class {per_class}: give a number of samples from 1 to {MOST}")
    if draw_seed < 0:
        raise UsageError(f"--draw-seed {draw_seed}: give a whole number from 0 on")


def _maker(
    path: Path,
    fold: str,
    seed: int | None,
    draw_seed: int,
    classes: Sequence[str],
    data: Sequence[Path],
) -> _Maker:
    codes = settings_of(path, ("gmm-aae",))["system"].get("codes")
    if codes != "gmm-aae":
        raise DataError(
            f'{path}: a system with codes = "{codes}" has no mixture to draw from; name one with '
            'codes = "gmm-aae"'
        )
    run = open_codes(path, fold=fold, seed=seed, data=data)
    if run.settings.get("labelled_data", run.material.hash) != run.material.hash:
        raise changed(path)
    network = run.networks[0]
    checkpoint = network.checkpoint
    if not run.folder.predictions_path(network.fold.name, run.seed).is_file():
        raise DataError(
            f"{path}: fold {network.fold.name} has no predictions: its training diverged, or "
            "stopped before its end; train it to its end, or choose another --fold"
        )
    if len(checkpoint.mean) > 1:
        raise DataError(
            f"{path}: its features are normalised per speaker or corpus, and samples of nobody "
            "have no such statistics; train a system with normalise = 'global'"
        )
    labels = checkpoint.labels[0]
    if unknown := [c for c in classes if c not in labels]:
        raise UsageError(
            f"--classes {','.join(unknown)}: the network's classes are {', '.join(labels)}"
        )
    names = extractor(feature_config(checkpoint.features)).names
    if len(names) != checkpoint.config.inputs:
        raise DataError(
            f"{network.path}: learnt from {checkpoint.config.inputs} features, and "
            f"{checkpoint.features.name} has {len(names)} here; install the openSMILE that it was "
            "trained with"
        )
    return _Maker(
        run=run,
        network=network,
        places=tuple(i for i, label in enumerate(labels) if not classes or label in classes),
        draw_seed=draw_seed,
        names=names,
        mean=checkpoint.mean[0].double().numpy(),
        scale=checkpoint.scale[0].double().numpy(),
    )


def _parts(maker: _Maker, per_class: int) -> Iterator[_Part]:
    """The samples, class by class; whatever their number is, the first are the same.

    Raises:
        DataError: values that are no numbers.
    """
    network = maker.network
    index = maker.run.folds.index(network.fold.name)
    for place in maker.places:
        for first in range(0, per_class, _PART):
            counts = [0] * len(maker.labels)
            counts[place] = min(_PART, per_class - first)
            drawn = (maker.run.seed, index, maker.draw_seed, place, first)
            made = made_up(network.checkpoint.net, counts, drawn)
            values = (made.values * maker.scale + maker.mean).astype(np.float32)
            if not np.isfinite(values).all():
                raise DataError(
                    f"{network.path}: makes up features that are no numbers; train it again with "
                    "a lower rate"
                )
            yield _Part(maker.labels[place], first, made.codes, made.values, values)


def _judged(maker: _Maker, per_class: int, jobs: int) -> Quality:
    """The first samples beside real utterances, as the network sees them.

    Training utterances are those that it learnt from, held-out ones those of the speakers that its
    fold tests.
    """
    run, fold = maker.run, maker.network.fold
    choice = maker.network.checkpoint.features
    heard = np.stack(required_features(run.found.utterances, choice, jobs)).astype(np.float64)
    x = np.clip((heard - maker.mean) / maker.scale, -choice.limit, choice.limit)
    train, test = (run.material.rows(ids) for ids in (fold.train, fold.test))
    parts = list(_parts(maker, per_class))
    try:
        return quality(
            np.concatenate([p.normalised for p in parts]).astype(np.float64),
            [p.label for p in parts for _ in p.codes],
            x[train],
            x[test],
            _labels(maker, train),
            _labels(maker, test),
            0,
        )
    except DataError as error:
        raise DataError(f"{error}; or leave the comparison out with --no-quality") from error


def _labels(maker: _Maker, rows: Rows) -> list[str]:
    material = maker.run.material
    return [material.labels[i] for i in material.truth[rows].tolist()]


def _provenance(maker: _Maker, per_class: int) -> dict[str, Any]:
    """What made the samples, and of what."""
    run, network = maker.run, maker.network
    checkpoint, fold = network.checkpoint, network.fold
    choice = checkpoint.features
    facts = {
        "what": "drawn from the mixture of a trained network and decoded: recordings of nobody",
        "run": run.name,
        "recipe": run.folder.recipe_hash,
        "folds": run.folder.table.hash,
        "fold": fold.name,
        "seed": run.seed,
        "weights": network.path.name,
        "weights_sha256": file_hash(network.path),
        "mixture": asdict(checkpoint.config.mixture),
        "draw_seed": maker.draw_seed,
        "per_class": {maker.labels[place]: per_class for place in maker.places},
        "features": {
            "name": choice.name,
            "cut_seconds": choice.cut_seconds,
            "number": len(maker.names),
        },
        "trained_on": _speakers(maker, fold.train),
        "validated_on": _speakers(maker, fold.validation),
        "tested_on": _speakers(maker, fold.test),
        "corpora": list(_corpora(run)),
        "voicetone": __version__,
        "created": time.strftime("%Y-%m-%d", time.gmtime()),
    }
    if choice.name in OPENSMILE:
        facts["opensmile"] = {"version": run.settings.get("opensmile"), "licence": LICENCE}
    return facts


def _corpora(run: CodesRun) -> Iterator[dict[str, str]]:
    """What the network learnt from; of unlabelled corpora what is known by their names."""
    for choice in run.recipe.corpora:
        manifest = read_corpus(choice)
        yield {
            "corpus": manifest.corpus,
            "version": manifest.version,
            "licence": manifest.licence,
            "citation": manifest.citation,
        }
    for told in run.settings.get("unlabelled", ()):
        known = PREPARED.get(told["name"]) or CORPORA.get(told["name"])
        licence = told.get("licence") or getattr(known, "licence", "unknown")
        yield {"corpus": told["name"], "licence": licence, "use": "unlabelled audio"}


def _speakers(maker: _Maker, ids: Iterable[str]) -> list[str]:
    wanted = set(ids)
    named = {u.speaker for u in maker.run.material.utterances if u.id in wanted}
    return sorted(name for name in named if name is not None)


def _source(maker: _Maker) -> str:
    """What the column of the same name says."""
    run, fold = maker.run, maker.network.fold
    return f"{run.name}, fold {fold.name}, seed {run.seed}, draws {maker.draw_seed}"


def _ids(maker: _Maker, part: _Part) -> list[str]:
    drawn = f"-draws{maker.draw_seed}" if maker.draw_seed else ""
    head = f"synthetic/{maker.network.path.stem}{drawn}/{part.label}"
    return [f"{head}-{part.first + i + 1:04d}" for i in range(len(part.codes))]


def _write_samples(maker: _Maker, per_class: int, facts: dict[str, Any], out: Path) -> None:
    """All of them, part by part."""
    rows = _parquet_rows if out.suffix == ".parquet" else _csv_rows
    rows(maker, _reported(maker, per_class), facts, out)


def _reported(maker: _Maker, per_class: int) -> Iterator[_Part]:
    report, done = ProgressLines("synthesize: samples"), 0
    for part in _parts(maker, per_class):
        yield part
        done += len(part.codes)
        report(done, per_class * len(maker.places))


def _parquet_rows(maker: _Maker, parts: Iterator[_Part], facts: dict[str, Any], out: Path) -> None:
    arrow, parquet = pyarrow_of()
    texts = [(name, arrow.string()) for name in ("id", "label")]
    numbers = [(name, arrow.float32()) for name in (*_code_names(maker), *maker.names)]
    schema = arrow.schema(
        [*texts, ("synthetic", arrow.bool_()), ("source", arrow.string()), *numbers],
        metadata={MARK: json.dumps(facts, ensure_ascii=False)},
    )
    with parquet.ParquetWriter(out, schema, compression="zstd") as writer:
        for part in parts:
            count = len(part.codes)
            columns = [_ids(maker, part), [part.label] * count, [True] * count]
            columns.append([_source(maker)] * count)
            columns += [*part.codes.T.astype(np.float32), *np.ascontiguousarray(part.values.T)]
            arrays = [
                arrow.array(column, field.type)
                for column, field in zip(columns, schema, strict=True)
            ]
            writer.write_table(arrow.table(arrays, schema=schema))


def _csv_rows(maker: _Maker, parts: Iterator[_Part], facts: dict[str, Any], out: Path) -> None:
    del facts  # they stand in the file beside it
    with out.open("w", newline="", encoding="utf-8") as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*SYNTHETIC, *_code_names(maker)[1:], *maker.names])
        for part in parts:
            head = [part.label, "true", _source(maker)]
            numbers = np.hstack([part.codes.astype(np.float32), part.values]).tolist()
            for name, row in zip(_ids(maker, part), numbers, strict=True):
                writer.writerow([name, *head, *(f"{v:.9g}" for v in row)])


def _code_names(maker: _Maker) -> list[str]:
    return [f"code_{i}" for i in range(maker.network.checkpoint.config.mixture.size)]


def _page(maker: _Maker, per_class: int, found: Quality | None) -> str:
    """What the samples are and what was measured, in Markdown."""
    run, fold = maker.run, maker.network.fold
    labels = ", ".join(maker.labels[place] for place in maker.places)
    learnt, tested = (_named(_speakers(maker, ids)) for ids in (fold.train, fold.test))
    lines = [
        f"{TITLE} of {run.name}",
        "",
        f"{per_class * len(maker.places)} vectors of {len(maker.names)} features "
        f"({maker.network.checkpoint.features.name}), {per_class} of each class: {labels}. They "
        f"are draws of the mixture of fold {fold.name}, seed {run.seed} (seed of the draws: "
        f"{maker.draw_seed}), decoded. They are recordings of nobody: don't count them as data, "
        "and don't test on them.",
        "",
        f"The network learnt from {learnt}. What is trained with its samples is to be tested on "
        f"speakers whom it has not met: {tested}.",
        "",
    ]
    if found is None:
        return "\n".join([*lines, "The samples were not compared with real ones.", ""])
    judged = min(per_class, _JUDGED)
    which = "All" if judged == per_class else f"The first {judged} of each class"
    lines += [
        "## Beside real utterances",
        "",
        f"{which} were compared with {len(fold.train)} utterances of training and "
        f"{len(fold.test)} of held-out speakers, as the network sees them.",
        "",
        *(f"- {sentence}" for sentence in words(found)),
        "",
    ]
    return "\n".join(lines)


def _named(speakers: Sequence[str]) -> str:
    if not 0 < len(speakers) <= _NAMED:
        return f"{len(speakers)} speakers"
    return ", ".join(speakers)
