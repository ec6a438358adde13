"""Linear probes of a pretrained front end: what its frames tell of speaker, emotion and digit.

The probes are those of the autoencoders' codes (`voicetone.training.aae_probes`): logistic
regressions tested on speakers they have not met, or, where they are asked for the speaker, on other
sentences. The same front end without training and the log-mel bands stand beside it: what the
pretraining is worth is the difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voicetone.corpora.prepared import data_root
from voicetone.errors import DataError, VoicetoneError
from voicetone.features.spectral import SpectralConfig
from voicetone.features.workers import ProgressLines, cores
from voicetone.models.front import Front
from voicetone.training.aae_probes import Probes, Question, questions
from voicetone.training.pretrain_audio import heard, listed
from voicetone.training.pretrain_fit import pooled
from voicetone.training.pretrain_recipe import ProbePart
from voicetone.training.tone_data import AugmentConfig, ClipStore, build
from voicetone.types import Floats, Utterance

LOG_MEL = "log-mel"


@dataclass(frozen=True)
class Learnt:
    """Whose audio the pretraining learnt from."""

    speakers: frozenset[str]
    recordings: frozenset[Path]

    def has(self, u: Utterance) -> bool:
        """Whether it learnt from an utterance's speaker, as far as that is known."""
        return u.speaker in self.speakers or u.audio.resolve() in self.recordings


def learnt_from(pieces: Sequence[Utterance]) -> Learnt:
    """Speakers and recordings of the pieces."""
    speakers = frozenset(u.speaker for u in pieces if u.speaker)
    return Learnt(speakers, frozenset(u.audio.resolve() for u in pieces))


def probe(
    parts: Sequence[ProbePart],
    fronts: Mapping[str, Front],
    learnt: Learnt,
    spectral: SpectralConfig,
    cache: Path,
    seed: int,
    jobs: int = 0,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Ask every probe; those that can't be asked cost a line each.

    Args:
        parts: what is asked, of which corpus.
        fronts: front ends by name, on the CPU in evaluation mode.
        learnt: whom the pretraining heard.
        spectral: of the features.
        cache: where rendered clips are kept.
        seed: of the probes' splits.
        jobs: processes that render; 0 is one per core.

    Returns:
        one entry per probe (see `aae_probes.Probes.results`) with `corpus`, `speakers` and
        `learnt_from`, how many of them the pretraining heard; and a line for each that is missing.
    """
    found, cautions = [], []
    for corpus in dict.fromkeys(part.corpus for part in parts):
        try:
            utterances, lines = _labelled(corpus)
            cautions += lines
            store = _render(utterances, spectral, cache, jobs)
        except VoicetoneError as error:
            cautions.append(f"{corpus}: not probed: {error}")
            continue
        clips = range(len(utterances))
        codes = {
            name: pooled(front, [store.clip(i, 0).features for i in clips])
            for name, front in fronts.items()
        }
        codes[LOG_MEL] = _log_mel(store, len(utterances), spectral.mels)
        for part in parts:
            if part.corpus == corpus:
                asked = _question(utterances, part)
                if isinstance(asked, str):
                    cautions.append(f"{corpus}: {asked}")
                else:
                    found.append(_asked(corpus, part.asks, asked, utterances, codes, learnt, seed))
    return found, cautions


def _labelled(corpus: str) -> tuple[list[Utterance], list[str]]:
    """A corpus's utterances that can be read, and a line for each recording that can't."""
    utterances, _ = listed(corpus)
    facts = heard(utterances)
    broken = {path: one.error for path, one in facts.items() if one.error}
    kept = [u for u in utterances if u.audio not in broken]
    if not kept:
        raise DataError(f"{corpus}: none of its recordings can be read; check the folder")
    return kept, list(broken.values())


def _render(
    utterances: Sequence[Utterance], spectral: SpectralConfig, cache: Path, jobs: int
) -> ClipStore:
    """The clips as recorded."""
    report = ProgressLines("rendering clips of the probes")
    return build(
        utterances,
        0,
        1,
        0,
        AugmentConfig(),
        spectral,
        cache,
        root=data_root(),
        workers=jobs or cores(),
        progress=report,
    )


def _log_mel(store: ClipStore, count: int, mels: int) -> Floats:
    """Mean and standard deviation of each band `[clips, 2 * mels]`."""
    out = []
    for index in range(count):
        bands = store.clip(index, 0).features[:, :mels].astype(np.float32)
        out.append(np.concatenate([bands.mean(axis=0), bands.std(axis=0)]))
    return np.stack(out).astype(np.float32)


def _question(utterances: Sequence[Utterance], part: ProbePart) -> Question | str:
    """What a probe is asked, or why it is not."""
    asks = part.asks
    if part.emotions:  # the others stay in their places, without answers
        taken = set(part.emotions)
        mute = [Utterance(u.id, u.audio, u.corpus) for u in utterances]
        pairs = zip(utterances, mute, strict=True)
        utterances = [u if u.emotion in taken else other for u, other in pairs]
    labels = [(u.transcript if asks == "digit" else u.emotion) or "" for u in utterances]
    asked, without = questions(utterances, asks if asks == "digit" else "emotion", labels)
    for question in asked:
        if question.name == asks:
            return question
    why = [line for line in without if line.startswith(asks)]
    return why[0] if why else f"{asks} is not asked: the corpus does not say it"


def _asked(
    corpus: str,
    asks: str,
    question: Question,
    utterances: Sequence[Utterance],
    codes: Mapping[str, Floats],
    learnt: Learnt,
    seed: int,
) -> dict[str, Any]:
    """The answers from each kind of codes, with whom the pretraining heard of those asked."""
    apart = [i for i, u in enumerate(utterances) if u.speaker and not learnt.has(u)]
    probes = Probes([question], seed)
    probes.add(codes, np.array(apart, dtype=np.int64))
    people = {u.speaker for u in (utterances[i] for i in question.rows) if u.speaker}
    known = {u.speaker for u in (utterances[i] for i in question.rows) if learnt.has(u)}
    entry = probes.results()[0]
    return {
        "corpus": corpus,
        "asks": asks,
        "speakers": len(people),
        "learnt_from": len(known & people),
        **entry,
    }
