"""What the recordings themselves say: length, hashes, silence, clipping, doubles."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from voicetone.audio import open_audio
from voicetone.corpora.manifest import Manifest, Problem
from voicetone.corpora.validation import same_contents, sha256_of
from voicetone.errors import AudioError
from voicetone.types import Floats

SILENT = 1e-3  # of full scale, −60 dB: no speech is recorded so low
FULL_SCALE = 0.999
FLAT = 4  # equal samples at full scale: the flat top of a wave
SLACK = 0.01  # s that a segment may reach over the end


@dataclass(frozen=True, slots=True)
class Heard:
    """One recording, read to its end.

    `sha256` is that of the file's bytes, `sound` that of its samples in 16 bits, so that a WAV and
    the FLAC made from it have the same. `error` is the line to print if it can't be read.
    """

    duration: float | None = None
    sha256: str | None = None
    sound: str | None = None
    silent: bool = False
    clipped: bool = False
    error: str | None = None


def hear(path: Path) -> Heard:
    """Read one recording."""
    digest = hashlib.sha256()
    peak, clipped, frames = 0.0, False, 0
    try:
        with open_audio(path) as source:
            digest.update(f"{source.rate} {source.channels} ".encode())
            for block in source.blocks():
                digest.update(np.round(block.T * 32768).astype("<i4").tobytes())
                peak = max(peak, float(np.abs(block).max()))
                clipped = clipped or _clipped(block)
                frames += block.shape[1]
            duration = frames / source.rate
    except AudioError as error:
        return Heard(error=str(error))
    return Heard(duration, sha256_of(path), digest.hexdigest(), peak < SILENT, clipped)


def hear_all(
    manifest: Manifest, done: Callable[[int], None] = lambda index: None, threads: int | None = None
) -> dict[Path, Heard]:
    """Read every recording of a manifest once, on all cores.

    Args:
        manifest: its files; those that are gone are left out.
        done: called with a number for each file when it is read.
        threads: how many files at a time; as many as there are cores if not given.
    """
    paths = [p for p in dict.fromkeys(u.audio for u in manifest) if p.is_file()]
    found: dict[Path, Heard] = {}
    pool = ThreadPoolExecutor(threads or os.cpu_count() or 1)
    try:
        jobs = {pool.submit(hear, path): (i, path) for i, path in enumerate(paths)}
        for job in as_completed(jobs):
            index, path = jobs[job]
            found[path] = job.result()
            done(index)
    finally:
        pool.shutdown(cancel_futures=True)
    return found


def audit(manifest: Manifest, heard: Mapping[Path, Heard]) -> Iterator[Problem]:
    """What is wrong with a manifest's recordings, and which of them are the same."""
    for index, u in enumerate(manifest):
        facts = heard.get(u.audio)
        place = manifest.place(index)
        if facts is None:
            continue
        if facts.error is not None:
            yield Problem(place, facts.error)
            continue
        length = facts.duration or 0.0
        if u.end is not None and u.end > length + SLACK:
            text = f"the segment ends at {u.end:g} s, {u.audio.name} at {length:g} s; mend the end"
            yield Problem(place, text)
        if u.sha256 is not None and u.sha256 != facts.sha256:
            text = f"{u.audio.name} is not the recording that the manifest was made from"
            yield Problem(place, f"{text}; restore it or prepare the manifest again")
        if facts.silent:
            yield Problem(place, f"{u.audio.name} is silent; leave it out", "warning")
        if facts.clipped:
            yield Problem(place, f"{u.audio.name} is clipped; know that it is", "warning")
    sounds = [heard[u.audio].sound if u.audio in heard else None for u in manifest]
    yield from same_contents(manifest, sounds)


def with_facts(manifest: Manifest, heard: Mapping[Path, Heard]) -> Manifest:
    """The manifest with the durations and hashes that were found."""
    utterances = []
    for u in manifest:
        facts = heard.get(u.audio, Heard())
        if facts.duration is not None:
            end = facts.duration if u.end is None else min(u.end, facts.duration)
            u = replace(u, duration=round(max(end - u.start, 0.0), 4), sha256=facts.sha256)
        utterances.append(u)
    return replace(manifest, utterances=tuple(utterances))


def _clipped(block: Floats) -> bool:
    hot = np.abs(block) >= FULL_SCALE
    if not hot.any() or block.shape[1] < FLAT:
        return False
    stretch = np.lib.stride_tricks.sliding_window_view(block, FLAT, axis=1)
    flat = (stretch == stretch[..., :1]).all(axis=-1) & hot[:, : stretch.shape[1]]
    return bool(flat.any())
