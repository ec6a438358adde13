"""The model's work for any number of channels and calls, in as few calls of it as possible."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from voicetone.audio.units import WINDOW_FRAMES
from voicetone.inference.enrolment import Enrolment, own_voice
from voicetone.inference.layout import CHUNK, Placement
from voicetone.pretrained.predictor import Predictor
from voicetone.types import Floats

MAX_ENCODED = 12 * CHUNK  # samples in one call of the encoder: 30 s, about 50 MB of its workings
MAX_CLASSIFIED = 64  # windows in one call of the head


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A stretch of one channel for the model: plain arrays, needing nothing of the session.

    Args:
        position: of the channel among the session's analysed ones, from 0.
        samples: float32 `[context + 500 n]` at 16 kHz, padded with zeros; n may be 0 at the end
            of a stream.
        state: the encoder's state before it, `[S]`.
        history: the frames before it, `[≤ 160, E]`.
        first: number of its first frame in the stream.
        windows: those that it completes.
        chunk: number of its first chunk in the stream.
        last: whether the stream ends with it.
        voice: of its speaker, `[size]`; None where unknown.
        enrolling: speech `[n]` that is to be made the voice, before its windows are scored.
        texts: what is said in each of its windows, None where that is not known.
    """

    position: int
    samples: Floats
    state: Floats
    history: Floats
    first: int
    windows: tuple[Placement, ...]
    chunk: int
    last: bool
    voice: Floats | None = field(default=None, repr=False)
    enrolling: Floats | None = field(default=None, repr=False)
    texts: tuple[str | None, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """What the model made of a job.

    Args:
        frames: `[n, E]`.
        speech: probability `[n]`.
        state: after it, `[S]`.
        scores: probabilities `[windows, labels]` per label space; NaN where there is no answer.
        enrolled: the voice, if the job was to make one and there was one.
    """

    frames: Floats
    speech: Floats
    state: Floats
    scores: Mapping[str, Floats]
    enrolled: Enrolment | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Encoded:
    frames: Floats
    speech: Floats
    state: Floats


def run_jobs(predictor: Predictor, jobs: Sequence[Job]) -> list[Output]:
    """Run jobs, of one session or of many, and give their outputs in the same order.

    Jobs of equal length share a call of the encoder, all windows share calls of the head, whose
    shape is always 5 s; so a job's output does not depend on its company.

    Raises:
        BundleError: the model fails.
    """
    encoded = _encode(predictor, jobs)
    learnt = [
        None if job.enrolling is None else own_voice(predictor, job.enrolling) for job in jobs
    ]
    voices = [
        job.voice if own is None else own.embedding for job, own in zip(jobs, learnt, strict=True)
    ]
    scores = _classify(predictor, jobs, encoded, voices)
    return [
        Output(part.frames, part.speech, part.state, its, own)
        for part, its, own in zip(encoded, scores, learnt, strict=True)
    ]


def _encode(predictor: Predictor, jobs: Sequence[Job]) -> list[_Encoded]:
    context, _, width = predictor.spec.shapes
    by_size: dict[int, list[int]] = defaultdict(list)
    done: dict[int, _Encoded] = {}
    for index, job in enumerate(jobs):
        size = len(job.samples) - context
        if size:
            by_size[size].append(index)
        else:
            none = np.zeros((0, width), dtype=np.float32)
            done[index] = _Encoded(none, none[:, 0], job.state)
    for size, members in by_size.items():
        step = max(1, MAX_ENCODED // size)
        for at in range(0, len(members), step):
            group = members[at : at + step]
            features = predictor.features(np.stack([jobs[i].samples for i in group]))
            state = np.stack([jobs[i].state for i in group])
            for index, *parts in zip(group, *predictor.encode(features, state), strict=True):
                done[index] = _Encoded(*parts)
    return [done[index] for index in range(len(jobs))]


def _classify(
    predictor: Predictor,
    jobs: Sequence[Job],
    encoded: Sequence[_Encoded],
    voices: Sequence[Floats | None],
) -> list[dict[str, Floats]]:
    """Scores of each job's windows, `[windows, labels]` per label space."""
    width = predictor.spec.shapes.frame
    places = [(index, place) for index, job in enumerate(jobs) for place in job.windows]
    texts = [text for job in jobs for text in job.texts or [None] * len(job.windows)]
    found: dict[str, list[Floats]] = defaultdict(list)
    for at in range(0, len(places), MAX_CLASSIFIED):
        group = places[at : at + MAX_CLASSIFIED]
        frames = np.zeros((len(group), WINDOW_FRAMES, width), dtype=np.float32)
        weight = np.zeros((len(group), WINDOW_FRAMES), dtype=np.float32)
        for row, (index, place) in enumerate(group):
            count = place.last - place.first
            frames[row, :count] = _frames_of(jobs[index], encoded[index].frames, place)
            weight[row, :count] = 1.0
        told = () if predictor.spec.speaker is None else [voices[index] for index, _ in group]
        more = () if predictor.spec.text is None else (texts[at : at + MAX_CLASSIFIED],)
        for name, values in predictor.classify(frames, weight, told, *more).items():
            found[name].append(values)
    rows = {name: np.concatenate(values) for name, values in found.items()}
    out: list[dict[str, Floats]] = []
    row = 0
    for job in jobs:
        out.append({name: values[row : row + len(job.windows)] for name, values in rows.items()})
        row += len(job.windows)
    return out


def _frames_of(job: Job, new: Floats, place: Placement) -> Floats:
    """The frames of a window, from before the job and from the job itself."""
    known = job.first - len(job.history)
    old = job.history[max(place.first - known, 0) : max(place.last - known, 0)]
    fresh = new[max(place.first - job.first, 0) : max(place.last - job.first, 0)]
    return np.concatenate([old, fresh]) if len(old) else fresh
