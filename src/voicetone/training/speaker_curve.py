"""The enrolment curve: what a network is told of test speakers of whom only seconds were heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voicetone.training.replica_data import Job, Rows
from voicetone.training.speaker_recipe import SpeakerSystem
from voicetone.training.speaker_voices import Enroller, Knowledge
from voicetone.types import Floats, Utterance

_NORMALISE = 13  # of the draws, as in `speaker_voices`
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """One length of enrolment."""

    seconds: float
    """As asked for."""
    heard: float
    """Seconds behind the utterances of known speakers, on average."""
    knowledge: Knowledge
    """Of the test utterances' speakers."""
    mean: Floats | None = None
    """Of features that are normalised per speaker: what each test utterance is normalised with
    `[tested, values]`."""
    scale: Floats | None = None


def points(
    enroller: Enroller,
    system: SpeakerSystem,
    utterances: Sequence[Utterance],
    values: Sequence[Floats],
    frame: float,
    job: Job,
) -> tuple[Point, ...]:
    """The curve of a replica.

    Args:
        enroller: of the recipe.
        system: what is trained.
        utterances: of its target.
        values: their frames `[n, values]` each.
        frame: seconds of a frame.
        job: who is tested.
    """
    if not system.has_curve:
        return ()
    embedded = enroller.curve(system, utterances, job)
    out = []
    for seconds, knowledge in embedded:
        known = knowledge.seconds[knowledge.known > 0]
        heard = float(known.mean()) if len(known) else 0.0
        if system.features.normalise != "speaker":
            out.append(Point(seconds, heard, knowledge))
            continue
        speakers = [u.speaker for u in utterances]
        drawn = normalisation(values, speakers, job, seconds, frame)
        heard = heard if system.needs_encoder else drawn[2]
        out.append(Point(seconds, heard, knowledge, drawn[0], drawn[1]))
    return tuple(out)


def normalisation(
    values: Sequence[Floats],
    speakers: Sequence[str | None],
    job: Job,
    seconds: float,
    frame: float,
) -> tuple[Floats, Floats, float]:
    """Mean and scale for each test utterance, from some of its speaker's others in the test.

    Whole clips are taken in an order that is drawn, one at least; without any, or without a
    speaker, the statistics are those of the training utterances.

    Args:
        values: frames of each utterance `[n, values]`.
        speakers: of each.
        job: who trains and tests, and the seed of the draws.
        seconds: to be heard.
        frame: seconds of a frame.

    Returns:
        Mean and scale `[tested, values]`, and the seconds heard on average.
    """
    rng = np.random.default_rng([_NORMALISE, job.seed, job.fold])
    order: dict[str, list[int]] = {}
    for row in rng.permutation(job.test).tolist():
        order.setdefault(speakers[row] or f"={row}", []).append(row)
    sums = {row: _sums(values[row]) for row in job.test.tolist()}
    everyone = sum((_sums(values[row]) for row in job.labelled), start=np.zeros(1))
    means, scales, heard = [], [], []
    for row in job.test.tolist():
        total, taken = np.zeros(1), 0.0
        for other in order[speakers[row] or f"={row}"] if seconds else ():
            more = len(values[other]) * frame
            if other == row or (taken and taken + more > seconds):
                continue
            total, taken = total + sums[other], taken + more
        mean, scale = _statistics(total if taken else everyone)
        means.append(mean)
        scales.append(scale)
        heard += [taken] if taken else []
    told = float(np.mean(heard)) if heard else 0.0
    return np.stack(means).astype(np.float32), np.stack(scales).astype(np.float32), told


def _sums(frames: Floats) -> Doubles:
    """Number of frames, their sums and sums of squares `[3, values]`."""
    wide = frames.astype(np.float64)
    count = np.full(wide.shape[1], float(len(wide)))
    return np.stack([count, wide.sum(axis=0), np.square(wide).sum(axis=0)])


def _statistics(sums: Doubles) -> tuple[Doubles, Doubles]:
    count, first, second = sums
    mean = first / count
    spread = np.sqrt(np.maximum(second / count - np.square(mean), 0.0))
    return mean, np.where(spread > 1e-6, spread, 1.0)  # values have a spread of 1 over all


def renormalised(
    group: Rows, mean: Floats, scale: Floats, test: Rows, point: Point
) -> tuple[Rows, Floats, Floats]:
    """Groups, means and scales in which each test utterance has a group of its own."""
    if point.mean is None or point.scale is None:
        return group, mean, scale
    group = group.copy()
    group[test] = len(mean) + np.arange(len(test))
    return group, np.concatenate([mean, point.mean]), np.concatenate([scale, point.scale])
