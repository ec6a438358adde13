"""What a network is told of each utterance's speaker: enrolment within a fold's part, controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from voicetone.errors import DataError
from voicetone.features.speaker import SpeakerEncoder
from voicetone.features.speaker_own import Voices, leave_one_out, voices
from voicetone.features.workers import ProgressLines
from voicetone.pretrained.speakers import speaker_encoder
from voicetone.training.replica_data import Job, Rows
from voicetone.training.speaker_recipe import SpeakerChoice, SpeakerSystem
from voicetone.types import Floats, Utterance

_ENROLMENT, _SHUFFLE = 11, 12  # so that no two kinds of draws have one seed


@dataclass(frozen=True)
class Knowledge:
    """What is known of the speakers of some utterances."""

    embedding: Floats
    """`[n, size]`, zeros where there is none."""
    known: Floats
    """`[n]`, 1 where there is one."""
    seconds: Floats
    """Speech behind each `[n]`."""

    @classmethod
    def nothing(cls, count: int, size: int) -> Knowledge:
        """Of nobody."""
        none = np.zeros(count, dtype=np.float32)
        return cls(np.zeros((count, size), dtype=np.float32), none, none.copy())

    def of(self, rows: Rows) -> Knowledge:
        """That of some utterances."""
        return Knowledge(self.embedding[rows], self.known[rows], self.seconds[rows])


class Enroller:
    """The speakers' embeddings of a recipe. The encoder is opened when it is first needed.

    Args:
        choice: which encoder, and how much of a speaker is heard.
    """

    def __init__(self, choice: SpeakerChoice) -> None:
        self.choice = choice
        self._heard: dict[tuple[str, ...], Voices] = {}
        self._found: dict[tuple[object, ...], Knowledge] = {}

    @cached_property
    def encoder(self) -> SpeakerEncoder:
        """What computes them.

        Raises:
            DataError: there is no such encoder, or it is not ready.
        """
        return speaker_encoder(self.choice.what)

    def voices(self, utterances: Sequence[Utterance]) -> Voices:
        """The embedding of each utterance by itself; computed once."""
        key = tuple(u.id for u in utterances)
        if key not in self._heard:
            report = ProgressLines("speaker embeddings")
            self._heard[key] = voices(utterances, self.encoder, progress=report)
        return self._heard[key]

    def knowledge(
        self, system: SpeakerSystem, utterances: Sequence[Utterance], job: Job
    ) -> Knowledge:
        """What a replica is told in training and test.

        Args:
            system: says whether, and which control.
            utterances: of its target.
            job: the replica.
        """
        if not system.needs_encoder:
            return Knowledge.nothing(len(utterances), 1)
        wanted = self.choice.enrolment
        most = None if wanted == "leave-one-out" else float(wanted)
        own = self._enrolled(utterances, (job.labelled, job.validation, job.test), most, job)
        if system.control == "shuffled":
            return shuffled(own, [u.speaker for u in utterances], job)
        return own

    def curve(
        self, system: SpeakerSystem, utterances: Sequence[Utterance], job: Job
    ) -> tuple[tuple[float, Knowledge], ...]:
        """What a replica is told of its test utterances with so many seconds of enrolment."""
        out = []
        for seconds in self.choice.curve:
            if not system.needs_encoder:
                found = Knowledge.nothing(len(job.test), 1)
            elif seconds:
                found = self._enrolled(utterances, (job.test,), seconds, job).of(job.test)
            else:
                found = Knowledge.nothing(len(job.test), self.encoder.size)
            out.append((seconds, found))
        return tuple(out)

    def _enrolled(
        self, utterances: Sequence[Utterance], parts: tuple[Rows, ...], most: float | None, job: Job
    ) -> Knowledge:
        """Each utterance's speaker from the others in its part; computed once."""
        ids = tuple(u.id for u in utterances)
        drawn = None if most is None else (most, job.seed, job.fold)
        key = (ids, drawn, *(rows.tobytes() for rows in parts))
        if key not in self._found:
            self._found[key] = _enrolled(self.voices(utterances), utterances, parts, most, job)
        return self._found[key]


def _enrolled(
    heard: Voices,
    utterances: Sequence[Utterance],
    parts: tuple[Rows, ...],
    most: float | None,
    job: Job,
) -> Knowledge:
    """Each utterance's speaker from the others in its part of the fold.

    A fixed length takes them in an order that is drawn, the same one for every length, so that a
    longer enrolment mostly goes on from a shorter one.
    """
    found = Knowledge.nothing(len(utterances), heard.size)
    for number, rows in enumerate(parts):
        keys = [utterances[i].id for i in rows]
        there = {key: heard.values[key] for key in keys if key in heard.values}
        draw = [_ENROLMENT, job.seed, job.fold, number if len(parts) > 1 else 2]
        own = leave_one_out(
            replace(heard, values=there),
            {utterances[i].id: utterances[i].speaker for i in rows},
            seconds=most,
            rng=None if most is None else np.random.default_rng(draw),
        )
        for row, key in zip(rows, keys, strict=True):
            if own.seconds.get(key, 0.0) > 0:
                found.embedding[row], found.known[row] = own.values[key], 1.0
                found.seconds[row] = own.seconds[key]
    return found


def shuffled(own: Knowledge, speakers: Sequence[str | None], job: Job) -> Knowledge:
    """Each utterance with what is known of an utterance of another speaker.

    It is drawn among those of the same part of the fold; where all of a part are of one speaker,
    among the training utterances.

    Args:
        own: what is known truly.
        speakers: of all utterances.
        job: the parts, and the seed of the draws.

    Raises:
        DataError: there is no other speaker.
    """
    names = np.array(["" if s is None else s for s in speakers])
    rng = np.random.default_rng([_SHUFFLE, job.seed, job.fold])
    origin = np.arange(len(names))
    for rows in (job.labelled, job.validation, job.test):
        pool = rows if len(set(names[rows])) > 1 else job.labelled
        pool = pool[own.known[pool] > 0]
        for speaker in sorted(set(names[rows])):
            mine = rows[names[rows] == speaker]
            others = pool[names[pool] != speaker]
            if not len(others):
                raise DataError(
                    f"control = shuffled needs embeddings of a speaker other than {str(speaker)!r} "
                    "in training: leave it out, or take a corpus of more speakers"
                )
            origin[mine] = rng.choice(others, len(mine))
    return own.of(origin)
