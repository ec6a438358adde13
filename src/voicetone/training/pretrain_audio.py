"""Audio to pretrain on: folders of recordings, with or without a manifest, cut into pieces.

Nothing needs a label. Where a folder has a manifest its speakers are known, and are kept on one
side of each split; elsewhere a recording stands for a speaker.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from voicetone.audio.decode import open_audio
from voicetone.audio.find import display, find_audio
from voicetone.corpora.audit import Heard, hear
from voicetone.corpora.tables import inspect_manifest
from voicetone.errors import AudioError, DataError
from voicetone.features.workers import ProgressLines, cores
from voicetone.types import Utterance

_SHORTEST = 0.25  # s; less is hardly a stretch to hide
_UNNEEDED = ("no column 'emotion'", "no column 'speaker'")  # as other uses of a manifest need


@dataclass(frozen=True)
class Audio:
    """Pieces to learn from, and a line for each thing that was left out."""

    pieces: tuple[Utterance, ...]
    """`end` is None only for a whole recording."""
    seconds: tuple[float, ...]
    """Of each piece."""
    cautions: tuple[str, ...]


@dataclass(frozen=True)
class Split:
    """Ids of pieces."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    held_out: tuple[str, ...]


def folder_of(name: str) -> Path:
    """A recipe's name as a path: a folder in `VOICETONE_DATA`, or any path.

    Raises:
        DataError: there is neither.
    """
    root = os.environ.get("VOICETONE_DATA")
    if root and Path(name).name == name and (Path(root) / name).is_dir():
        return Path(root).resolve() / name
    if not name or not Path(name).exists():
        raise DataError(
            f"{display(name)}: no such recordings; give the path of a folder, or the name of one "
            "in VOICETONE_DATA"
        )
    return Path(name)


def listed(name: str) -> tuple[list[Utterance], list[str]]:
    """What a folder holds, by its manifest or else by the files in it, and what is wrong with it.

    Raises:
        DataError: no such folder, or a manifest that is no table.
        AudioError: a folder without audio.
    """
    folder = folder_of(name)
    table = folder / "manifest.csv"
    corpus = folder.resolve().name
    if table.is_file():
        manifest, problems = inspect_manifest(table, corpus=corpus)
        told = [p for p in problems if not p.text.startswith(_UNNEEDED)]
        return list(manifest), [f"{p.place}: {p.text}" for p in told]
    found = []
    for path in find_audio([str(folder)]):
        inside = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
        found.append(Utterance(f"{corpus}/{inside.as_posix()}", path, corpus))
    return found, []


def heard(utterances: Sequence[Utterance]) -> dict[Path, Heard]:
    """What is in each recording, read to its end on all cores."""
    paths = list(dict.fromkeys(u.audio for u in utterances))
    report = ProgressLines("reading recordings")
    found = {}
    with ThreadPoolExecutor(cores()) as pool:
        for done, (path, facts) in enumerate(zip(paths, pool.map(hear, paths), strict=True), 1):
            found[path] = facts
            report(done, len(paths))
    return found


def gather_audio(
    names: Sequence[str],
    *,
    piece: float,
    channels: Literal["mixed", "each"],
    most_hours: float,
    seed: int,
) -> Audio:
    """All pieces of the named folders.

    Recordings that can't be read, that are silent, or that are there twice are left out with a
    line each.

    Args:
        names: folders.
        piece: longest piece in seconds.
        channels: what becomes of several channels: their mean, or a recording each.
        most_hours: of more audio than this, pieces are drawn.
        seed: of that draw.

    Raises:
        DataError: no such folder, or nothing in any that can be used.
    """
    utterances: list[Utterance] = []
    cautions: list[str] = []
    for name in names:
        try:
            found, lines = listed(name)
        except AudioError as error:
            found, lines = [], [str(error)]
        utterances += found
        cautions += lines
    facts = heard(utterances)
    usable, lines = _usable(utterances, facts)
    cautions += lines
    parts = []
    for u in usable:
        for one in _channels(u) if channels == "each" else (u,):
            parts += list(_cut(one, facts[u.audio].duration or 0.0, piece))
    if not parts:
        first = f" ({cautions[0]})" if cautions else ""
        raise DataError(f"{', '.join(names)}: no audio that can be learnt from{first}; name others")
    parts = [(replace(u, id=key), s) for key, (u, s) in zip(_unique(parts), parts, strict=True)]
    hours = sum(s for _, s in parts) / 3600
    if hours > most_hours:
        parts = _drawn(parts, most_hours * 3600, seed)
        cautions.append(f"{hours:.1f} h of audio: pieces of {most_hours:g} h drawn (most_hours)")
    return Audio(tuple(u for u, _ in parts), tuple(s for _, s in parts), tuple(cautions))


def _usable(
    utterances: Sequence[Utterance], facts: dict[Path, Heard]
) -> tuple[list[Utterance], list[str]]:
    """Those whose recordings can be learnt from, and a line for each recording that can't."""
    first: dict[str, Path] = {}
    reasons: dict[Path, str] = {}
    for path, one in facts.items():
        name = display(path)
        if one.error is not None:
            reasons[path] = one.error
        elif one.silent:
            reasons[path] = f"{name}: silent; left out"
        elif (one.duration or 0.0) < _SHORTEST:
            reasons[path] = f"{name}: shorter than {_SHORTEST} s; left out"
        elif one.sound is not None and one.sound in first:
            reasons[path] = f"{name}: the same recording as {display(first[one.sound])}; left out"
        elif one.sound is not None:
            first[one.sound] = path
    return [u for u in utterances if u.audio not in reasons], list(reasons.values())


def _channels(u: Utterance) -> Iterator[Utterance]:
    """A recording for each channel, unless one is chosen or there is only one."""
    with open_audio(u.audio) as source:
        count = source.channels
    if u.channel is not None or count == 1:
        yield u
        return
    for channel in range(1, count + 1):
        yield replace(u, id=f"{u.id}#{channel}", channel=channel)


def _cut(u: Utterance, duration: float, longest: float) -> Iterator[tuple[Utterance, float]]:
    """Equal pieces of at most so many seconds, with their seconds."""
    end = duration if u.end is None else min(u.end, duration)
    length = end - u.start
    if length < _SHORTEST:
        return
    count = math.ceil(length / longest - 1e-6)
    if count == 1:
        yield u, length
        return
    for index in range(count):
        start, stop = (u.start + length * i / count for i in (index, index + 1))
        part = replace(u, id=f"{u.id}@{start:.3f}", start=start, end=stop, duration=None)
        yield part, length / count


def _unique(parts: Sequence[tuple[Utterance, float]]) -> list[str]:
    """Ids, with a number where folders of one name hold files of one name."""
    seen: dict[str, int] = {}
    keys = []
    for u, _ in parts:
        seen[u.id] = seen.get(u.id, 0) + 1
        keys.append(u.id if seen[u.id] == 1 else f"{u.id}~{seen[u.id]}")
    return keys


def _drawn(
    parts: Sequence[tuple[Utterance, float]], seconds: float, seed: int
) -> list[tuple[Utterance, float]]:
    """Pieces of about so many seconds, at least one, in their order."""
    order = np.random.default_rng(seed).permutation(len(parts))
    ends = np.cumsum([parts[i][1] for i in order])
    count = max(1, int(np.searchsorted(ends, seconds, side="right")))
    return [parts[i] for i in sorted(order[:count])]


_PIECE = re.compile(r"(#[\d.#-]+)?(@\d+(\.\d+)?)?(~\d+)?$")
"""What pieces and channels have behind the name of their recording; those of two recordings of one
name stay on one side."""


def _recording(u: Utterance) -> str:
    """What is shared by the pieces and channels of one recording, on any machine."""
    return _PIECE.sub("", u.id)


def split(pieces: Sequence[Utterance], validation: float, held_out: float, seed: int) -> Split:
    """Pieces to learn from, to judge the guesses on, and to leave out.

    Args:
        pieces: all.
        validation: share of the pieces left after `held_out`, whole speakers (recordings where the
            speaker is not known).
        held_out: share of each corpus's known speakers; at least one of those with two or more.
        seed: of the draws.

    Raises:
        DataError: too few speakers or recordings to keep one for each side.
    """
    rng = np.random.default_rng([seed, 1])
    away: set[str] = set()
    for corpus in sorted({u.corpus for u in pieces}) if held_out else ():
        speakers = sorted({u.speaker for u in pieces if u.corpus == corpus and u.speaker})
        if len(speakers) > 1:
            count = min(len(speakers) - 1, max(1, round(held_out * len(speakers))))
            away |= {speakers[i] for i in rng.permutation(len(speakers))[:count]}
    out = tuple(u.id for u in pieces if u.speaker in away)
    groups: dict[str, list[str]] = {}
    for u in pieces:
        if u.speaker not in away:
            groups.setdefault(u.speaker or _recording(u), []).append(u.id)
    if len(groups) < 2:
        raise DataError(
            "pretraining needs recordings of two speakers, or two recordings: one to learn from "
            "and one to be judged on; name more audio"
        )
    names = sorted(groups)
    names = [names[i] for i in rng.permutation(len(names))]
    wanted = validation * sum(map(len, groups.values()))
    kept: set[str] = set()
    for name in names[:-1]:
        if sum(len(groups[k]) for k in kept) + len(groups[name]) <= wanted:
            kept.add(name)
    kept = kept or {min(names, key=lambda name: len(groups[name]))}
    return Split(
        tuple(key for name in groups if name not in kept for key in groups[name]),
        tuple(key for name in groups if name in kept for key in groups[name]),
        out,
    )
