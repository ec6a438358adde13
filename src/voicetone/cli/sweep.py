"""A model's predictions of changed audio: one table per change, made on all cores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from voicetone.audio.find import display
from voicetone.errors import DataError, VoicetoneError
from voicetone.types import Floats, Utterance

if TYPE_CHECKING:
    from voicetone.augment.changes import Change, Sounds
    from voicetone.evaluation.table import PredictionTable
    from voicetone.pretrained.predictor import Predictor

NO_SPEECH = "no speech"
"""What is predicted where the model hears no speech: a label that is never the truth."""
CLEAN = "clean"
_CHUNK = 16  # utterances handed to a process at a time
_LONGEST = 60.0  # s heard of a noise or of music
_KEPT_SOUNDS = 64  # decoded sounds that each process keeps; of a minute they take 250 MB
_KEPT_VOICES = 256


@dataclass(frozen=True, slots=True)
class Plan:
    """What a process must know to score any utterance under any change.

    Attributes:
        bundle: the model's folder.
        space: which of its heads is judged.
        labels: those of the head that are told apart.
        utterances: what is scored.
        truth: their labels.
        sounds: files by the fields of `Sounds`, all but the voices.
        seed: of all draws.
    """

    bundle: Path
    space: Literal["emotion", "sentiment"]
    labels: tuple[str, ...]
    utterances: tuple[Utterance, ...]
    truth: tuple[str, ...]
    sounds: Mapping[str, tuple[Path, ...]]
    seed: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one utterance: scores `[labels]`, None without speech, or a line why not."""

    place: int
    scores: Floats | None = None
    error: str | None = None


class Scorer:
    """Scores utterances by the way that recordings take. One per process."""

    def __init__(self, plan: Plan) -> None:
        from voicetone.pretrained import load

        self._plan = plan
        self._predictor = load(plan.bundle)
        everyone = sorted(plan.utterances, key=lambda u: u.id)
        self._speakers = [(u.speaker, partial(_voice, u)) for u in everyone]

    def score(self, place: int, change: Change | None) -> Outcome:
        """One utterance under one change, or as it is. What it draws depends on the seed, the
        change and the utterance alone."""
        from voicetone.augment.draws import generator
        from voicetone.features.extract import samples_of
        from voicetone.types import Waveform

        u = self._plan.utterances[place]
        try:
            wave = Waveform(samples_of(u)[None], self._predictor.spec.sample_rate)
            if change is not None:
                rng = generator(self._plan.seed, change.name, u.id)
                wave = change.apply(wave, rng, self._sounds(u))
            return Outcome(place, self._chosen(scores_of(self._predictor, wave.samples)))
        except VoicetoneError as error:
            return Outcome(place, error=str(error))
        except Exception as error:  # even a defect of ours must not cost the other files
            line = f"{display(u.audio)}: unexpected {type(error).__name__}: {error}"
            return Outcome(place, error=" ".join(line.split()))

    def _chosen(self, scores: Mapping[str, Mapping[str, float]] | None) -> Floats | None:
        import numpy as np

        if scores is None:
            return None
        chosen = np.array([scores[self._plan.space][label] for label in self._plan.labels])
        shares: Floats = (chosen / chosen.sum()).astype(np.float32)
        return shares

    def _sounds(self, u: Utterance) -> Sounds:
        from voicetone.augment.changes import Sounds

        files = {kind: _Files(paths) for kind, paths in self._plan.sounds.items()}
        voices = [voice for speaker, voice in self._speakers if speaker != u.speaker]
        return Sounds(**files, voices=voices)


def scores_of(predictor: Predictor, samples: Floats) -> Mapping[str, Mapping[str, float]] | None:
    """The model's scores of a whole clip `[1, n]` at its sample rate, per label space; None
    without speech."""
    from voicetone.inference.live import LiveSession

    session = LiveSession(predictor, predictor.spec.sample_rate)
    session.push(samples)
    session.close()
    found = session.overall(1)
    if found.emotion is None or found.sentiment is None:
        return None
    return {"emotion": found.emotion, "sentiment": found.sentiment}


class _Files(Sequence[Floats]):
    """Sounds that are decoded when they are drawn."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, place: int) -> Floats:  # type: ignore[override]
        return _sound(self._paths[place])


@lru_cache(maxsize=_KEPT_SOUNDS)
def _sound(path: Path) -> Floats:
    from voicetone.audio.decode import read_audio
    from voicetone.audio.units import SAMPLE_RATE
    from voicetone.types import Waveform

    wave = read_audio(path).slice(0.0, _LONGEST)
    # The mean of two ears is no room's response: of more channels the first is taken.
    first: Floats = Waveform(wave.samples[:1], wave.sample_rate).resample(SAMPLE_RATE).samples[0]
    return first


@lru_cache(maxsize=_KEPT_VOICES)
def _spoken(audio: Path, start: float, end: float | None, channel: int | None) -> Floats:
    from voicetone.features.extract import samples_of

    return samples_of(Utterance("", audio, "", start=start, end=end, channel=channel))


def _voice(u: Utterance) -> Floats:
    return _spoken(u.audio, u.start, u.end, u.channel)


_worker: dict[str, Scorer] = {}


def _begin(plan: Plan) -> None:
    _worker["scorer"] = Scorer(plan)


def _work(change: Change | None, places: Sequence[int]) -> list[Outcome]:
    return [_worker["scorer"].score(place, change) for place in places]


def outcomes(
    plan: Plan,
    wanted: Sequence[Change | None],
    jobs: int,
    progress: Callable[[int, int], None],
) -> Iterator[tuple[Change | None, list[Outcome]]]:
    """Every utterance under each change, change by change.

    Args:
        plan: what is scored.
        wanted: the changes; None is the audio as it is.
        jobs: processes.
        progress: told how many of how many are scored.

    Raises:
        DataError: a process died.
    """
    from voicetone.features.workers import starts, worker_pool

    count = len(plan.utterances)
    chunks = [range(i, min(i + _CHUNK, count)) for i in range(0, count, _CHUNK)]
    total, done = count * len(wanted), 0
    jobs = min(jobs, len(chunks) * len(wanted))
    if jobs > 1:
        with worker_pool(jobs, _begin, (plan,)) as pool:
            if starts(pool):
                futures = [[pool.submit(_work, c, chunk) for chunk in chunks] for c in wanted]
                for change, parts in zip(wanted, futures, strict=True):
                    found: list[Outcome] = []
                    for part in parts:
                        try:
                            found += part.result()
                        except BrokenProcessPool as error:
                            raise DataError(
                                "a process of the sweep died, often for lack of memory: the same "
                                "command goes on; with --jobs 1 it needs less"
                            ) from error
                        done += _CHUNK
                        progress(min(done, total), total)
                    yield change, found
                return
    scorer = Scorer(plan)
    for change in wanted:
        found = []
        for place in range(count):
            found.append(scorer.score(place, change))
            done += 1
            progress(done, total)
        yield change, found


def table_of(
    plan: Plan, found: Sequence[Outcome], root: Path, meta: Mapping[str, str]
) -> PredictionTable:
    """The predictions in the form that the evaluation takes, without what could not be scored.

    Args:
        plan: what was scored.
        found: what came of it.
        root: the folder that the table's audio paths start from.
        meta: facts about the run.
    """
    import numpy as np

    from voicetone.evaluation.table import PredictionTable

    found = [outcome for outcome in found if outcome.error is None]
    clips = [plan.utterances[outcome.place] for outcome in found]
    silent = any(outcome.scores is None for outcome in found)
    labels = (*plan.labels, NO_SPEECH) if silent else plan.labels
    scores = np.zeros((len(found), len(labels)), dtype=np.float32)
    for row, outcome in zip(scores, found, strict=True):
        if outcome.scores is None:
            row[-1] = 1.0
        else:
            row[: len(plan.labels)] = outcome.scores
    return PredictionTable(
        id=np.array([u.id for u in clips], dtype=np.str_),
        truth=np.array([plan.truth[outcome.place] for outcome in found], dtype=np.str_),
        labels=labels,
        scores=scores,
        speaker=np.array([u.speaker or "" for u in clips], dtype=np.str_),
        corpus=np.array([u.corpus for u in clips], dtype=np.str_),
        groups={"sex": np.array([u.sex or "" for u in clips], dtype=np.str_)},
        audio=np.array([_address(u, root) for u in clips], dtype=np.str_),
        probabilities=True,
        meta=meta,
    )


def _address(u: Utterance, root: Path) -> str:
    """Where the report finds the recording: a path from `root`, with the seconds of the file."""
    path = u.audio.resolve().relative_to(root).as_posix()
    if not u.start and u.end is None:
        return path
    return f"{path}#t={u.start:g}" + ("" if u.end is None else f",{u.end:g}")
