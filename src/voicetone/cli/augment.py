"""`voicetone augment`: what training does to a recording, to be heard and seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from voicetone.cli.output import STDOUT, complain, needing, say, written
from voicetone.errors import MissingExtraError, UsageError
from voicetone.types import Floats

if TYPE_CHECKING:
    import numpy as np

    from voicetone.augment.heard import Heard, Library
    from voicetone.types import Waveform

HELP = (
    "Hear and see the changes that training makes to recordings.\n\nThe folder --preview gets the "
    "recording as training hears it (mono, 16 kHz), one WAV per change with a drawn value, all "
    "changes together, masks of the spectrogram as pictures, and preview.html, which shows and "
    "plays them. The same seed gives the same files."
)
MASK = "mask"
ALL = "all"
MOST_SECONDS = 60.0
MOST_DRAWS = 20


def augment(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A recording, or - for a pipe.")],
    preview: Annotated[Path, typer.Option(metavar="OUT", help="Folder for what is made.")],
    seed: Annotated[int, typer.Option(help="Another number draws other values.")] = 0,
    only: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            help="Only these of speed, pitch, reverb, room, noise, telephone, codec, gain, mask.",
        ),
    ] = "",
    noise: Annotated[
        Path | None,
        typer.Option(help="Folder with manifest.csv (file) of noises; pink noise without it."),
    ] = None,
    rooms: Annotated[
        Path | None, typer.Option(help="The same of measured room responses, for reverb.")
    ] = None,
    count: Annotated[int, typer.Option(help="Draws of each change.")] = 1,
) -> None:
    """Make a preview; see HELP."""
    if seed < 0:
        raise UsageError(f"--seed {seed}: give a whole number from 0 on")
    if not 1 <= count <= MOST_DRAWS:
        raise UsageError(f"--count {count}: give a number of draws from 1 to {MOST_DRAWS}")
    if Path(file).is_dir():
        raise UsageError(f"{file}: is a folder: name a file")
    with needing("augment", "report"):
        import matplotlib as _matplotlib  # noqa: F401 - what is missing is said at once
        import scipy as _scipy  # noqa: F401

        from voicetone.cli.augment_files import check, write

        changes = _changes(only, rooms)
        check(preview, file)
        wave = _recording(file)
        draws = _draws(changes, wave, seed, count, _library(noise, rooms))
        name = "standard input" if file == STDOUT else Path(file).name
        masks = count if MASK in changes else 0
        with written(preview):
            write(preview, name, wave, draws, seed=seed, count=masks)
    say(f"{preview / 'preview.html'}: {name} and {len(draws) + masks} changes of it\n")


def _changes(only: str, rooms: Path | None) -> list[str]:
    """The changes that are made, in the order of the stack.

    Raises:
        UsageError: a name that is not known, or measured rooms that are not given.
        MissingExtraError: simulated rooms are asked for and can't be made.
    """
    from importlib.util import find_spec

    from voicetone.augment.heard import MAKERS

    known = [*MAKERS, MASK]
    words = [word.strip() for word in only.split(",") if word.strip()]
    if only.strip() and not words:
        raise UsageError(f"--only {only}: names no change; give some as in speed,noise")
    for word in words:
        if word not in known:
            raise UsageError(f"--only {word}: no such change; use any of {', '.join(known)}")
    if "reverb" in words and rooms is None:
        raise UsageError("--only reverb: needs --rooms FOLDER of measured responses; or take room")
    wanted = [name for name in known if name in (words or known)]
    if rooms is None and "reverb" in wanted:
        wanted.remove("reverb")
    if "room" in wanted and find_spec("pyroomacoustics") is None:
        if words:
            raise MissingExtraError("a simulated room (pyroomacoustics)", "train")
        complain("room: left out, it needs pip install 'voicetone[train]'")
        wanted.remove("room")
    return wanted


def _recording(file: str) -> Waveform:
    """The first minute of a recording as training hears it."""
    import numpy as np

    from voicetone.audio.decode import open_audio
    from voicetone.audio.units import SAMPLE_RATE
    from voicetone.types import Waveform

    with open_audio(file) as source:
        blocks, seconds = [], 0.0
        for block in source.blocks():
            blocks.append(block)
            seconds += block.shape[1] / source.rate
            if seconds > MOST_SECONDS:
                break
        whole = Waveform(np.concatenate(blocks, axis=1), source.rate)
    if seconds > MOST_SECONDS:
        complain(f"{file}: only its first {MOST_SECONDS:g} s are used")
        whole = whole.slice(0.0, MOST_SECONDS)
    return whole.mono().resample(SAMPLE_RATE)


def _library(noise: Path | None, rooms: Path | None) -> Library:
    from voicetone.augment.heard import Library

    noises, responses = _shelf(noise), _shelf(rooms, without="filter")
    return Library(noises, noises.names, responses, responses.names)


class _Shelf(Sequence[Floats]):
    """Sounds that are decoded when they are drawn."""

    def __init__(self, paths: Sequence[Path], names: Sequence[str]) -> None:
        self._paths = paths
        self.names = names

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, place: int) -> Floats:  # type: ignore[override]
        from voicetone.audio.decode import read_audio
        from voicetone.audio.units import SAMPLE_RATE
        from voicetone.types import Waveform

        wave = read_audio(self._paths[place]).slice(0.0, MOST_SECONDS)
        # The mean of two ears is no room's response: of more channels the first is taken.
        first = Waveform(wave.samples[:1], wave.sample_rate).resample(SAMPLE_RATE)
        samples: Floats = first.samples[0]
        return samples


def _shelf(folder: Path | None, without: str = "") -> _Shelf:
    """What a folder's manifest names, but for the kinds whose name holds `without`.

    Raises:
        DataError: no manifest, or nothing in it.
    """
    from voicetone.corpora.prepared import rows
    from voicetone.errors import DataError

    if folder is None:
        return _Shelf([], [])
    named = [row for row in rows(folder) if not without or without not in (row.get("kind") or "")]
    if not named:
        raise DataError(f"{folder}: its manifest names no sound: choose another folder")
    paths = [Path(row["path"]) for row in named]
    labels = [row.get("label") or "" for row in named]
    names = [f"{label} {path.stem}".strip() for label, path in zip(labels, paths, strict=True)]
    return _Shelf(paths, names)


def _draws(
    changes: Sequence[str], wave: Waveform, seed: int, count: int, library: Library
) -> list[Heard]:
    """Each change `count` times, then all of them together as often."""
    from voicetone.augment.draws import generator
    from voicetone.augment.heard import Heard, heard, together

    def rng(change: str, draw: int) -> np.random.Generator:
        return generator(seed, "preview", change, draw)

    audible = [name for name in changes if name != MASK]
    found = [
        heard(name, wave, rng(name, draw), library) for name in audible for draw in range(count)
    ]
    if len(audible) > 1:
        for draw in range(count):
            out, steps = together(audible, wave, rng(ALL, draw), library)
            words = " ".join(["One after another:", *(step.words for step in steps)])
            drawn = {f"{s.change}.{key}": value for s in steps for key, value in s.drawn.items()}
            found.append(Heard(ALL, str(draw), words, out, drawn))
    return found
