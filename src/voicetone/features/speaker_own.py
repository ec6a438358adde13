"""Each utterance's speaker as their other utterances have them: leave-one-out over own audio."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voicetone.audio.find import display
from voicetone.audio.units import to_samples, to_seconds
from voicetone.errors import AudioError, DataError, VoicetoneError
from voicetone.features.cache import FeatureCache, cache_root
from voicetone.features.extract import contents_of, samples_of
from voicetone.features.speaker import LEAST_SECONDS, SpeakerEncoder, require_size
from voicetone.features.speaker_enrol import active_speech
from voicetone.types import Floats, Utterance

_VERSION = 1  # raised when what is kept changes


@dataclass(frozen=True, slots=True)
class Voices:
    """Embeddings of utterances.

    Attributes:
        encoder: the id of what computed them.
        size: values of each.
        values: per utterance id `[size]` of unit length, without those that failed.
        seconds: per utterance id the speech behind it.
        contents: per utterance id a hash of what is heard, equal for the same recording twice.
        failures: per utterance id one line that says why it has no embedding.
        computed: how many were not in the cache.
    """

    encoder: str
    size: int
    values: Mapping[str, Floats]
    seconds: Mapping[str, float]
    contents: Mapping[str, str]
    failures: Mapping[str, str]
    computed: int


@dataclass(frozen=True, slots=True)
class OwnVoices:
    """What leave-one-out gives.

    Attributes:
        values: per utterance id the speaker's embedding `[size]` of unit length without that
            utterance, or zeros.
        seconds: per utterance id the speech behind it; 0 with zeros.
        alone: ids of utterances whose speaker has no other: theirs are zeros.
    """

    values: Mapping[str, Floats]
    seconds: Mapping[str, float]
    alone: tuple[str, ...]


def voices(
    utterances: Sequence[Utterance],
    encoder: SpeakerEncoder,
    *,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Voices:
    """Embeddings of utterances, each of its speech by energy. One that fails costs itself only.

    Where nothing stands out from the background the whole utterance is heard: that somebody
    speaks in it is known.

    Args:
        utterances: ids must differ.
        encoder: what computes them.
        cache: where they are kept; `cache_root()` if not given.
        progress: told how many of how many are done.
    """
    store = FeatureCache(
        cache or cache_root(), "speaker", {"encoder": encoder.id, "version": _VERSION}
    )
    contents, failures = contents_of(utterances)
    values: dict[str, Floats] = {}
    seconds: dict[str, float] = {}
    computed = 0
    for done, u in enumerate(utterances):
        if progress is not None:
            progress(done, len(utterances))
        if u.id in failures:
            continue
        kept = store.get(contents[u.id])
        if kept is None or kept.shape != (1 + encoder.size,) or not np.isfinite(kept).all():
            try:
                kept = _heard(u, encoder)
            except VoicetoneError as error:
                failures[u.id] = str(error)
                continue
            store.put(contents[u.id], kept)
            computed += 1
        seconds[u.id], values[u.id] = float(kept[0]), kept[1:]
    return Voices(encoder.id, encoder.size, values, seconds, contents, failures, computed)


def _heard(utterance: Utterance, encoder: SpeakerEncoder) -> Floats:
    """Seconds of speech, then the embedding: `[1 + size]`."""
    samples = samples_of(utterance)
    speech = active_speech(samples)
    if len(speech) < to_samples(LEAST_SECONDS):
        speech = samples
    try:
        embedding = encoder.embed([speech])[0]
    except AudioError as error:
        raise AudioError(f"{display(utterance.audio)}: {error}") from None
    return np.concatenate([[to_seconds(len(speech))], embedding]).astype(np.float32)


def leave_one_out(
    heard: Voices,
    speakers: Mapping[str, str | None],
    *,
    seconds: float | None = None,
    rng: np.random.Generator | None = None,
) -> OwnVoices:
    """Each utterance's speaker, from all of their other utterances.

    An utterance that is the same recording as another is left out with it: its own sound must not
    stand behind it.

    Args:
        heard: embeddings of the utterances.
        speakers: per utterance id; speakers of different corpora need different names.
        seconds: of speech to enrol from at most, in whole utterances, but one at least; all if
            not given.
        rng: draws the order in which utterances are taken; that of their ids if not given.

    Raises:
        DataError: an utterance without a speaker, or an embedding of another size.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for key, value in sorted(heard.values.items()):
        require_size(value, heard.size, key)
        speaker = speakers.get(key)
        if speaker is None:
            raise DataError(
                f"{key}: no speaker is known: leave-one-out needs one for each utterance, in the "
                "manifest's column speaker"
            )
        groups[speaker].append(key)
    values: dict[str, Floats] = {}
    behind: dict[str, float] = {}
    alone = []
    for _, ids in sorted(groups.items()):
        order = ids if rng is None else [ids[i] for i in rng.permutation(len(ids))]
        for key in ids:
            others = [k for k in order if k != key and _differ(heard, k, key)]
            values[key], behind[key] = _mean(heard, others, seconds)
            if not others:
                alone.append(key)
    return OwnVoices(values, behind, tuple(sorted(alone)))


def _differ(heard: Voices, one: str, other: str) -> bool:
    a, b = heard.contents.get(one), heard.contents.get(other)
    return a is None or a != b


def _mean(heard: Voices, ids: Sequence[str], most: float | None) -> tuple[Floats, float]:
    """The unit mean of embeddings that hold `most` seconds of speech, and their seconds."""
    total = np.zeros(heard.size, dtype=np.float64)
    seconds = 0.0
    for key in ids:
        more = heard.seconds[key]
        if most is not None and seconds and seconds + more > most:
            continue
        total += heard.values[key]
        seconds += more
    length = float(np.sqrt(total @ total))
    if not length:
        return np.zeros(heard.size, dtype=np.float32), 0.0
    return np.asarray(total / length, dtype=np.float32), seconds
