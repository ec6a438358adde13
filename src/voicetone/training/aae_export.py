"""A trained autoencoder's classifier as a bundle that `voicetone analyze` takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from voicetone.corpora.manifest import Manifest
from voicetone.errors import DataError
from voicetone.evaluation.calibration import scale, temperature
from voicetone.evaluation.metrics import uar
from voicetone.features.extract import extract
from voicetone.features.sets import extractor
from voicetone.pretrained import bundle
from voicetone.pretrained.spec import SPEC_NAME, WINDOW, Space, WindowFeatures
from voicetone.pretrained.window_predictor import WindowPredictor
from voicetone.training.aae_card import Export, bundle_facts
from voicetone.training.aae_graph import Classifier, graph, multiply_adds
from voicetone.training.aae_trained import (
    Codes,
    Network,
    TrainedRun,
    codes_of,
    has_predictions,
    heard,
    labelled_ids,
    open_run,
    unlabelled_of,
)
from voicetone.types import EMOTIONS, SENTIMENTS, Floats

CLOSE = 1e-4
"""How far probabilities of the bundle may be from those of the network it was made from."""
GRAPH = "classifier.onnx"


def export(
    path: Path,
    out: Path,
    *,
    fold: str = "",
    seed: int | None = None,
    data: Sequence[Path] = (),
    name: str = "",
    licence: str = "",
) -> Path:
    """Write one fold's network of a run as a bundle.

    Args:
        path: `OUT/TARGET/SYSTEM` of a run of `kind = "aae"`.
        out: the bundle's folder; made if missing.
        fold: whose weights; the first fold's that were kept if not given.
        seed: whose weights; the run's first if not given.
        data: see `open_run`.
        name: of the bundle; recipe, target and system if not given.
        licence: of the weights; if not given, that of the training data.

    Raises:
        UsageError, DataError: see `open_run`; a run that diverged or stopped; a corpus of
            unlabelled audio that is gone; a target that bundles have no place for; features
            normalised per speaker or corpus; a bundle that gives other probabilities than the
            network; a folder that holds a bundle.
        MissingExtraError: openSMILE is not installed.
    """
    require_free(out)
    run = open_run(path, fold=fold, seed=seed, data=data)
    network = run.networks[0]
    if not ((path / "metrics.json").is_file() and has_predictions(run, network)):
        raise DataError(
            f"{path}: predictions or metrics.json are missing: the run diverged, or stopped before "
            "its end; train it to its end, then export it"
        )
    if len(network.checkpoint.mean) > 1:
        raise DataError(
            f"{path}: its features are normalised per speaker or corpus, whose statistics a "
            "stranger does not have; train a system with normalise = 'global'"
        )
    index = run.targets.index(run.settings["target"]["name"])
    head = head_of(network.checkpoint.labels[index], path)
    codes, _ = codes_of(run, network, heard(run))
    foreign = tuple(unlabelled_of(run, data))
    made = measured(run, network, codes, index, head, name, licence, foreign)
    graphs, facts = assembled(made)
    return write_checked(
        out, facts, graphs, lambda predictor: require_equal(predictor, made, codes.ys[index])
    )


def require_free(out: Path) -> None:
    """That a bundle can be written into a folder.

    Raises:
        DataError: it holds one.
    """
    if (out / SPEC_NAME).exists():
        raise DataError(f"{out}: holds a bundle already; choose another folder with --out")


def write_checked(
    out: Path,
    facts: Mapping[str, Any],
    files: Mapping[str, bytes],
    check: Callable[[WindowPredictor], None],
) -> Path:
    """Write a bundle once it has been seen to do what it should.

    Args:
        out: its folder.
        facts: of `bundle.json`.
        files: beside it.
        check: raises if it does not.
    """
    _, spec = bundle.described(out, facts, files)
    predictor = bundle.assemble(spec, files)
    assert isinstance(predictor, WindowPredictor)
    check(predictor)
    return bundle.write(out, facts, files)


def head_of(labels: Sequence[str], path: Path) -> Space:
    """The label space that a network's classes belong to.

    Raises:
        DataError: they are no emotions, and not the three sentiments.
    """
    if set(labels) == set(SENTIMENTS):
        return "sentiment"
    if set(labels) <= set(EMOTIONS):
        return "emotion"
    raise DataError(
        f"{path}: its classes are {', '.join(labels)}; a bundle gives emotions or the three "
        "sentiments: export the run of such a target"
    )


def measured(
    run: TrainedRun,
    network: Network,
    codes: Codes,
    index: int,
    head: Space,
    name: str,
    licence: str,
    foreign: tuple[Manifest, ...] = (),
) -> Export:
    """What the fold's validation and test speakers say of a network."""
    truth, scores = run.material.truth, codes.ys[index]
    held, tested = codes.validation, codes.test
    return Export(
        run=run,
        network=network,
        index=index,
        labels=network.checkpoint.labels[index],
        head=head,
        name=name,
        licence=licence,
        labelled=labelled_ids(run, network),
        foreign=foreign,
        temperature=temperature(scores[held], truth[held]) if len(held) else 1.0,
        test_uar=uar(truth[tested], scores[tested].argmax(1)),
    )


def assembled(made: Export) -> tuple[dict[str, bytes], dict[str, object]]:
    """The graphs, and `bundle.json` but for the hashes."""
    checkpoint = made.network.checkpoint
    choice, config = checkpoint.features, checkpoint.config
    classifier = Classifier(checkpoint, made.index).eval()
    settings = extractor(made.features).settings
    features = WindowFeatures(
        name=choice.name,
        cut_seconds=choice.cut_seconds,
        size=config.inputs,
        frames=choice.frames,
        step=choice.step,
        opensmile=settings.get("opensmile"),
    )
    facts = {
        "format": WINDOW,
        "features": features.model_dump(),
        "graphs": {"classifier": GRAPH},
        "head": made.head,
        "parameters": classifier.parameters_count,
        **bundle_facts(made, multiply_adds(config, config.classes[made.index])),
    }
    return {GRAPH: graph(classifier, config, made.head)}, facts


def require_equal(predictor: WindowPredictor, made: Export, scores: Floats) -> None:
    """Make sure that a bundle gives what its network gives, on all held-out utterances.

    Args:
        predictor: of the bundle.
        made: the network.
        scores: its probabilities of all utterances `[n, labels]`, at a temperature of 1.

    Raises:
        DataError: probabilities further apart than `CLOSE`.
    """
    material, fold = made.run.material, made.network.fold
    rows = material.rows((*fold.validation, *fold.test))
    utterances = [material.utterances[i] for i in rows]
    values = extract(utterances, made.features, jobs=1).values
    found = np.stack([predictor.probabilities(values[u.id])[made.head] for u in utterances])
    apart = float(np.abs(found - scale(scores[rows], made.temperature)).max())
    if not apart <= CLOSE:
        raise DataError(
            f"{made.network.path}: as a bundle it gives other probabilities, by up to {apart:.2g}; "
            "nothing was written: report it"
        )
