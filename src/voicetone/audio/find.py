"""From what a user names to the files to read."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from voicetone.errors import AudioError

STDIN = Path("-")

# What libsndfile reads, by the names that people give it.
# fmt: off
AUDIO_SUFFIXES = frozenset({
    ".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif",
    ".aiff", ".aifc", ".caf", ".au", ".snd", ".sph", ".nist", ".voc", ".8svx", ".iff", ".ircam",
})
# Headerless audio, which only a `RawFormat` makes readable.
RAW_SUFFIXES = frozenset({
    ".raw", ".pcm", ".s16", ".s16le", ".sw", ".sln", ".sln16", ".ul", ".ulaw", ".mulaw", ".pcmu",
    ".al", ".alaw", ".pcma", ".g711", ".g711u", ".g711a",
})
# fmt: on


def find_audio(paths: Sequence[str], *, raw: bool = False) -> list[Path]:
    """The files that these names stand for, in the order given, each once.

    A name is a file (of any extension), a folder (searched to the bottom for known extensions, in
    natural order, hidden names left out), a glob pattern that the shell did not expand, or `-`
    for standard input. A name that leads nowhere, and a folder without audio or that can't be
    listed, stays in the list beside others: `open_audio` says what is wrong with it when its turn
    comes, so that it does not cost the other files.

    Args:
        paths: names as typed.
        raw: look in folders for headerless audio (.raw, .ulaw, …) instead.

    Raises:
        AudioError: there is no name, or all of them are folders without audio.
    """
    if not paths:
        raise AudioError("no audio named: give files, folders or - for standard input")
    suffixes = RAW_SUFFIXES if raw else AUDIO_SUFFIXES
    found: dict[str, Path] = {}
    barren: dict[str, str] = {}
    seen: set[str] = set()
    for name in _expanded(paths):
        path = _path(name)
        if path == STDIN or not is_folder(path):
            files = [path]
        else:
            known = len(seen)
            files = _search(path, suffixes, seen)
            if not files and len(seen) > known:  # not one that has been searched already
                barren[os.path.realpath(path)] = name
                files = [path]
        for file in files:
            key = "-" if file == STDIN else os.path.realpath(file)
            found.setdefault(key, file)
    if len(barren) == len(found):
        names = ", ".join(display(name) for name in barren.values())
        raise AudioError(f"{names}: {no_audio_inside(suffixes)}")
    return list(found.values())


def no_audio_inside(suffixes: frozenset[str] = AUDIO_SUFFIXES) -> str:
    """What to say of a folder without audio."""
    some = [s for s in (".wav", ".flac", ".ogg", ".mp3", ".raw", ".ulaw") if s in suffixes]
    return f"no audio in this folder ({', '.join(some)} …): name the files or another folder"


def display(path: str | Path) -> str:
    """A path as it can be printed on one line: control and broken characters are escaped."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(path)
    )


NaturalKey = list[tuple[int, str]]


def natural_key(name: str) -> tuple[NaturalKey, NaturalKey, str]:
    """Sorts call.wav, call2.wav, call10.wav in this order, whatever the case."""
    stem = name.rpartition(".")[0] or name
    return _words_and_numbers(stem), _words_and_numbers(name), name


def _words_and_numbers(text: str) -> NaturalKey:
    parts = re.split(r"([0-9]+)", text)  # words at even places, numbers at odd ones
    return [(int(part), part) if i % 2 else (0, part.casefold()) for i, part in enumerate(parts)]


def is_folder(path: Path) -> bool:
    """As `Path.is_dir`, but False where the answer is forbidden."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _path(name: str) -> Path:
    path = Path(name)
    # pathlib drops the ./ that makes a file named "-" one.
    return path.absolute() if path == STDIN and name != "-" else path


def _expanded(paths: Sequence[str]) -> Iterator[str]:
    for name in paths:
        if name != "-" and glob.has_magic(name) and not os.path.lexists(name):
            matches = sorted(glob.glob(name, recursive=True), key=natural_key)  # noqa: PTH207
            yield from matches or [name]
        else:
            yield name


def _search(folder: Path, suffixes: frozenset[str], seen: set[str]) -> list[Path]:
    """Audio files under a folder; `seen` are the real paths of those not to search again."""
    real = os.path.realpath(folder)
    if real in seen:  # linked from elsewhere, or from inside itself
        return []
    seen.add(real)
    try:
        names = sorted((path.name for path in folder.iterdir()), key=natural_key)
    except OSError:
        return [folder]  # whose line `open_audio` will give
    files: list[Path] = []
    for name in names:
        if name.startswith("."):
            continue
        path = folder / name
        if is_folder(path):
            files += _search(path, suffixes, seen)
        elif path.suffix.lower() in suffixes:
            files.append(path)
    return files
