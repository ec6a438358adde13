"""What is in recordings, whatever file format holds it. A file is read once, then known by hash."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from voicetone.corpora.audit import hear
from voicetone.corpora.manifest import Problem, refuse
from voicetone.features.cache import cache_root, file_hash, write_whole
from voicetone.features.workers import ProgressLines, cores
from voicetone.training.leaks import Heard
from voicetone.types import Utterance


def listen(utterances: Sequence[Utterance], places: Mapping[str, str]) -> dict[str, Heard]:
    """What is heard in each utterance, by its id.

    Args:
        utterances: of any corpora.
        places: file and line of each id, for messages.

    Raises:
        DataError: recordings that can't be read or hold nothing, and segments outside of them, by
            file and line.
    """
    paths = list(dict.fromkeys(u.audio for u in utterances))
    report = ProgressLines("reading recordings")
    found: dict[Path, tuple[str, float] | str] = {}
    with ThreadPoolExecutor(cores()) as pool:
        for done, (path, one) in enumerate(zip(paths, pool.map(_listened, paths), strict=True), 1):
            found[path] = one
            report(done, len(paths))
    heard: dict[str, Heard] = {}
    problems = []
    for u in utterances:
        one = found[u.audio]
        if isinstance(one, str):
            problems.append(Problem(places.get(u.id, u.id), one))
            continue
        sound, duration = one
        end = duration if u.end is None else min(u.end, duration)
        if u.start >= end:
            text = f"{u.audio.name} holds nothing there; mend or drop the row"
            problems.append(Problem(places.get(u.id, u.id), text))
        heard[u.id] = Heard(sound, round(u.start, 3), round(end, 3), u.channel)
    refuse(problems)
    return heard


def _listened(path: Path) -> tuple[str, float] | str:
    """Hash of a recording's samples and its seconds; or what is wrong with it."""
    try:
        known = cache_root() / "sounds" / f"{file_hash(path)}.json"
    except OSError as error:
        return f"{path.name} can't be opened ({error.strerror}): check the path"
    try:
        sound, duration = json.loads(known.read_text(encoding="utf-8"))
        return str(sound), float(duration)
    except (OSError, ValueError, TypeError):
        pass
    facts = hear(path)
    if facts.error is not None or facts.sound is None or facts.duration is None:
        return facts.error or f"{path.name} holds no sound"
    known.parent.mkdir(parents=True, exist_ok=True)
    write_whole(known, json.dumps([facts.sound, facts.duration]).encode())
    return facts.sound, facts.duration
