"""Features of many utterances: from the cache or computed on all cores, into the cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from voicetone.audio.decode import read_audio
from voicetone.audio.find import display
from voicetone.audio.units import SAMPLE_RATE
from voicetone.errors import AudioError, VoicetoneError
from voicetone.features.cache import FeatureCache, cache_root, content_key, file_hash
from voicetone.features.sets import (
    OPENSMILE,
    SSL,
    Extractor,
    FeatureConfig,
    extractor,
    say_licence,
)
from voicetone.features.workers import ProgressLines, cores, starts, worker_pool
from voicetone.types import Floats, Utterance, Waveform

_CHUNK = 8  # utterances handed to a process at a time


@dataclass(frozen=True, slots=True)
class Features:
    """Features of utterances.

    Attributes:
        config: what they are.
        values: per utterance id `[features]` or `[frames, features]`, without those that failed.
        contents: per utterance id a hash of what is heard, equal for the same recording twice.
        failures: per utterance id one line that says why it has no features.
        computed: how many were not in the cache.
    """

    config: FeatureConfig
    values: Mapping[str, Floats]
    contents: Mapping[str, str]
    failures: Mapping[str, str]
    computed: int

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names."""
        return _extractor(self.config).names


def extract(
    utterances: Sequence[Utterance],
    config: FeatureConfig,
    *,
    cache: Path | None = None,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Features of utterances, in their order. A recording that fails costs itself only.

    What is computed is kept at once, so an interrupted call goes on where it stopped.

    Args:
        utterances: ids must differ.
        config: which features.
        cache: where they are kept; `cache_root()` if not given.
        jobs: processes; one per core if not given. Self-supervised models are heard in this one,
            on all its threads: each process would hold their weights anew.
        progress: told how many of how many are computed; lines on stderr if not given.

    Raises:
        MissingExtraError: openSMILE or transformers is not installed.
        DataError: the folder of a self-supervised model is not in order.
    """
    compute = _extractor(config)
    jobs = 1 if config.name == SSL else jobs
    store = FeatureCache(cache or cache_root(), config.name, compute.settings)
    contents, failures = contents_of(utterances)
    missing = [u for u in utterances if u.id in contents and contents[u.id] not in store]
    if missing:
        if config.name in OPENSMILE:
            say_licence()
        report = progress or ProgressLines(str(config))
        failures |= _compute(missing, contents, compute, store, jobs or cores(), report)
    values: dict[str, Floats] = {}
    for u in utterances:
        if u.id in failures:
            continue
        found = store.get(contents[u.id])
        if found is None:  # damaged on disk
            missing.append(u)
            failures |= _compute([u], contents, compute, store, 1, lambda *_: None)
            found = store.get(contents[u.id])
        if found is not None:
            values[u.id] = found
    return Features(config, values, contents, failures, len(missing))


def _extractor(config: FeatureConfig) -> Extractor:
    if config.name != SSL:
        return extractor(config)
    from voicetone.features.ssl import ssl_extractor

    return ssl_extractor(config)


def contents_of(utterances: Sequence[Utterance]) -> tuple[dict[str, str], dict[str, str]]:
    """A hash of what is heard per utterance id, and per id of a file that can't be read why."""
    paths = list(dict.fromkeys(u.audio for u in utterances))

    def hashed(path: Path) -> str | OSError:
        try:
            return file_hash(path)
        except OSError as error:
            return error

    with ThreadPoolExecutor(cores()) as pool:
        found = dict(zip(paths, pool.map(hashed, paths), strict=True))
    contents: dict[str, str] = {}
    failures: dict[str, str] = {}
    for u in utterances:
        content = found[u.audio]
        if isinstance(content, str):
            contents[u.id] = content_key(u, content)
        else:
            reason = content.strerror or type(content).__name__
            failures[u.id] = f"{display(u.audio)}: can't be opened ({reason}): check the path"
    return contents, failures


def samples_of(utterance: Utterance) -> Floats:
    """What an utterance sounds like: mono `[n]` at 16 kHz.

    Raises:
        AudioError: it can't be read, or has no such channel or part.
    """
    wave = _read(utterance.audio)
    name = display(utterance.audio)
    if utterance.channel is not None:
        if not 1 <= utterance.channel <= wave.channels:
            raise AudioError(
                f"{name}: there is no channel {utterance.channel}, counted from 1: mend the row"
            )
        wave = Waveform(wave.samples[utterance.channel - 1 :][:1], wave.sample_rate)
    if utterance.start or utterance.end is not None:
        end = wave.duration if utterance.end is None else utterance.end
        wave = wave.slice(utterance.start, end)
    if not wave.samples.shape[1]:
        raise AudioError(f"{name}: nothing between the start and end of {utterance.id}: mend both")
    return np.ascontiguousarray(wave.mono().resample(SAMPLE_RATE).samples[0])


@lru_cache(maxsize=1)
def _read(path: Path) -> Waveform:
    return read_audio(path)


_worker: dict[str, Extractor | FeatureCache] = {}


def _start(config: FeatureConfig, store: FeatureCache) -> None:
    _worker.update(compute=_extractor(config), store=store)


def _work(chunk: Sequence[tuple[Utterance, str]]) -> dict[str, str]:
    compute, store = _worker["compute"], _worker["store"]
    assert isinstance(compute, Extractor)
    assert isinstance(store, FeatureCache)
    failures = {}
    for utterance, content in chunk:
        line = _one(utterance, content, compute, store)
        if line:
            failures[utterance.id] = line
    return failures


def _one(utterance: Utterance, content: str, compute: Extractor, store: FeatureCache) -> str | None:
    """Compute and keep one utterance's features; why not, where that fails."""
    try:
        samples = samples_of(utterance)
    except VoicetoneError as error:
        return str(error)
    except Exception as error:  # even a defect of ours must not cost the other files
        return f"{display(utterance.audio)}: unexpected {type(error).__name__}: {error}"
    try:
        store.put(content, compute(samples))
    except AudioError as error:
        return f"{display(utterance.audio)}: {error}"
    return None


def _compute(
    missing: Sequence[Utterance],
    contents: Mapping[str, str],
    compute: Extractor,
    store: FeatureCache,
    jobs: int,
    report: Callable[[int, int], None],
) -> dict[str, str]:
    work = [(u, contents[u.id]) for u in missing]
    failures: dict[str, str] = {}
    chunks = [work[i : i + _CHUNK] for i in range(0, len(work), _CHUNK)]
    suspects = None
    if jobs > 1 and len(work) > 1:
        suspects = _pooled(chunks, compute.config, store, jobs, failures, report)
    if suspects is None:
        return _here(work, compute, store, report)
    # A process died. Each utterance that was under way gets a process of its own to kill.
    for number, item in enumerate(suspects):
        report(len(work) - len(suspects) + number, len(work))
        if _pooled([[item]], compute.config, store, 1, failures, lambda *_: None) != []:
            name = display(item[0].audio)
            failures[item[0].id] = f"{name}: the process that heard it died: convert or drop it"
    return failures


def _here(
    work: Sequence[tuple[Utterance, str]],
    compute: Extractor,
    store: FeatureCache,
    report: Callable[[int, int], None],
) -> dict[str, str]:
    failures: dict[str, str] = {}
    for done, (utterance, content) in enumerate(work):
        report(done, len(work))
        line = _one(utterance, content, compute, store)
        if line:
            failures[utterance.id] = line
    return failures


def _pooled(
    chunks: Sequence[Sequence[tuple[Utterance, str]]],
    config: FeatureConfig,
    store: FeatureCache,
    jobs: int,
    failures: dict[str, str],
    report: Callable[[int, int], None],
) -> list[tuple[Utterance, str]] | None:
    """Compute chunks in processes; returns what was left undone because one of them died.

    None if no process could be started at all.
    """
    total, done = sum(map(len, chunks)), 0
    waiting = list(reversed(chunks))
    running: dict[Future[dict[str, str]], Sequence[tuple[Utterance, str]]] = {}
    undone: list[tuple[Utterance, str]] = []
    broken = False
    with worker_pool(min(jobs, len(chunks)), _start, (config, store)) as pool:
        if not starts(pool):
            return None
        while running or (waiting and not broken):
            while waiting and len(running) < 2 * jobs and not broken:
                chunk = waiting.pop()
                try:
                    running[pool.submit(_work, chunk)] = chunk
                except BrokenProcessPool:
                    waiting.append(chunk)
                    broken = True
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for job in finished:
                chunk = running.pop(job)
                try:
                    failures.update(job.result())
                    done += len(chunk)
                except BrokenProcessPool:
                    broken = True
                    undone.extend(item for item in chunk if item[1] not in store)
            report(done, total)
    if not waiting:
        return undone
    more = _pooled(list(reversed(waiting)), config, store, jobs, failures, report)
    return undone + (more or [])
