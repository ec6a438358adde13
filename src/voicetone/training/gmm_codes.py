"""Codes of utterances by statistics alone, classifiers on codes, and synthetic training samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from voicetone.models.gmm_aae import GmmAae
from voicetone.training.classifier_fit import Examples as CodeExamples
from voicetone.training.classifier_fit import Outcome, Settings, run_fold
from voicetone.training.classifier_recipe import Selection
from voicetone.training.gmm_recipe import CodeSystem, Synthetic
from voicetone.training.replica_data import Job, Rows
from voicetone.types import Floats

_AT_ONCE = 1024
_SYNTHETIC = 11  # of the seeds of draws


def reference_codes(system: CodeSystem, size: int, x: Floats, truth: Rows, job: Job) -> Floats:
    """Codes that need no network.

    Args:
        system: of which kind.
        size: of the codes; `raw` has that of the features.
        x: normalised features of every utterance `[n, features]`.
        truth: places of the classes `[n]`.
        job: says who trains.
    """
    if system.codes == "raw":
        return x
    if system.codes == "lda":
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        model: Any = LinearDiscriminantAnalysis(n_components=size)
        model.fit(x[job.labelled].astype(np.float64), truth[job.labelled])
    else:
        from sklearn.decomposition import PCA

        model = PCA(size, random_state=0).fit(x[job.training].astype(np.float64))
    return np.asarray(model.transform(x.astype(np.float64)), dtype=np.float32)


@dataclass(frozen=True)
class Made:
    """Synthetic training samples."""

    codes: NDArray[np.float64]
    """Draws of the mixture's components `[n, size]`."""
    values: Floats
    """Decoded: normalised features `[n, features]`."""
    truth: Rows
    """Places of the classes, which are those of the components `[n]`."""


def made_up(net: GmmAae, counts: Sequence[int], seed: Sequence[int]) -> Made:
    """Draw from the components and decode.

    Args:
        net: one trained network, a stack of one replica.
        counts: samples of each class.
        seed: of the draws.
    """
    mixture = net.config.mixture
    truth = np.repeat(np.arange(mixture.classes), counts)
    codes = mixture.sample(truth, [*seed, _SYNTHETIC])
    net.eval()
    with torch.no_grad():
        parts = torch.split(torch.from_numpy(codes).float()[None], _AT_ONCE, dim=1)
        values = torch.cat([net.decode(part) for part in parts], 1)[0].numpy()
    return Made(codes, np.asarray(values, dtype=np.float32), truth)


def wanted(choice: Synthetic, truth: Rows, classes: int) -> list[int]:
    """How many synthetic samples of each class a system wants.

    Args:
        choice: of the system.
        truth: classes of the real training utterances.
        classes: how many there are.
    """
    if choice.per_class != "balanced":
        return [choice.per_class] * classes
    there = np.bincount(truth, minlength=classes)
    return [int(n) for n in there.max() - there]


def read_out(
    system: CodeSystem,
    codes: Mapping[int, Floats],
    truth: Rows,
    classes: int,
    job: Job,
    made: Made | None = None,
) -> tuple[Outcome, int]:
    """Train and test the classifier of one replica.

    Kernel, constants and size are chosen on validation speakers. The codes of the training
    speakers were fitted to their labels, those of the validation speakers were not: so what is
    chosen is what does well on strangers.

    Args:
        system: whose classifiers.
        codes: of every utterance `[n, size]`, for each size.
        truth: places of the classes `[n]`.
        classes: how many.
        job: who trains, validates and tests.
        made: synthetic samples in the space of the codes.

    Returns:
        What came of it, and the size that was chosen.
    """
    best: tuple[float, int] | None = None
    settings = Settings(
        system.readout,
        Selection(on="validation"),
        "none",
        _refits(system),
        scored=len(codes) > 1,
    )
    found: dict[int, Outcome] = {}
    for size, values in codes.items():
        outcome = _one_size(system, values, truth, classes, job, made, settings)
        score = float(outcome.chosen.get("uar", 0.0))  # not told of the only size
        found[size] = outcome
        if best is None or score > best[0]:
            best = (score, size)
    assert best is not None
    outcome = found[best[1]]
    if len(codes) > 1:
        outcome.chosen["size"] = float(best[1])
    return outcome, best[1]


def _refits(system: CodeSystem) -> bool:
    """Labels of validation speakers would undo the hiding of others."""
    real = system.synthetic is None or system.synthetic.real
    return system.refit and real and system.labelled == 1


def _one_size(
    system: CodeSystem,
    values: Floats,
    truth: Rows,
    classes: int,
    job: Job,
    made: Made | None,
    settings: Settings,
) -> Outcome:
    if system.codes != "raw":
        mean, spread = values[job.labelled].mean(0), values[job.labelled].std(0)
        values = (values - mean) / np.where(spread > 0, spread, 1.0)
    train = job.labelled
    if made is not None:
        synthetic = len(values) + np.arange(len(made.truth))
        values = np.concatenate([values, made.values])
        truth = np.concatenate([truth, made.truth])
        assert system.synthetic is not None
        train = np.concatenate([train, synthetic]) if system.synthetic.real else synthetic
    nobody = [""] * len(values)
    data = CodeExamples(list(values), truth, classes, nobody, nobody)
    return run_fold(data, settings, (train, job.validation, job.test), job.draw)
